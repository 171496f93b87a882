/**
 * Whether the images that the command line names are there. Those that no device uses are not opened
 * otherwise, and who mistyped a path would not hear of it.
 */
import type { BlockNode } from "../../configuration/block.ts";
import type { VirtualMachineConfig } from "../../configuration/virtual_machine.ts";
import type { Descriptor } from "../../native/descriptor.ts";
import { OpenFlags, type OpenPath, status } from "../../native/file.ts";
import { DescriptorSetError, namesSet, openToRead } from "../../native/descriptor_path.ts";
import { Errno } from "../../native/errors.ts";
import { ImageError } from "./errors.ts";
import { openImage } from "./image.ts";
import { refuseOtherFormats } from "./probe.ts";

/** Throws, naming the option, if one of the images cannot be read. */
export function checkImages(
  { drives, blockNodes }: Pick<VirtualMachineConfig, "drives" | "blockNodes">,
  openPath: OpenPath,
): void {
  const all = { openPath, probed: false, readOnly: false };
  for (const { node } of drives) {
    if (node !== undefined) check(node, { ...all, option: (path) => `-drive file=${path}` });
  }
  for (const node of blockNodes) {
    const option = () => `-blockdev driver=${node.driver},node-name=${node.nodeName}`;
    check(node, { ...all, option });
  }
}

interface CheckContext {
  readonly openPath: OpenPath;
  /** Names the option by its image's path. */
  readonly option: (path: string) => string;
  /** A node above has guessed raw. */
  readonly probed: boolean;
  /** A node above is read-only. */
  readonly readOnly: boolean;
}

function check(node: BlockNode, context: CheckContext): void {
  if (node.driver === "null-co") return;
  if (node.driver === "raw") {
    const { probed, readOnly } = node;
    if (typeof node.file !== "string") check(node.file, { ...context, probed, readOnly });
    return;
  }
  const { option, probed } = context;
  const { driver, filename: path } = node;
  try {
    using file = openAny(node, context);
    const { kind } = status(file.fd);
    if (probed && (kind === "file" || kind === "block")) refuseOtherFormats(file.fd, path);
    if (kind !== "directory") return;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ImageError(`${option(path)}: ${reason}`, { cause: error });
  }
  throw new ImageError(
    `${option(path)}: '${driver}' driver requires '${path}' to be a regular file`,
  );
}

/** A file in any way that lets it be looked at; of a set what a disk would get, or else what can be read. */
function openAny(
  node: Exclude<BlockNode, { driver: "raw" | "null-co" }>,
  { openPath, readOnly }: CheckContext,
): Descriptor {
  const { filename: path } = node;
  if (!namesSet(path)) return openPath(path, OpenFlags.readOnly | OpenFlags.nonBlocking);
  try {
    return openImage(node, readOnly || node.readOnly, openPath).descriptor;
  } catch (error) {
    if (!(error instanceof DescriptorSetError) || error.errno !== Errno.EACCES) throw error;
    return openToRead(openPath, path);
  }
}
