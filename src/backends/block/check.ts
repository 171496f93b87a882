/**
 * Whether the images that the command line names are there. Those that no device uses are not opened
 * otherwise, and who mistyped a path would not hear of it.
 */
import type { BlockNode } from "../../configuration/block.ts";
import type { VirtualMachineConfig } from "../../configuration/virtual_machine.ts";
import { openFile, OpenFlags, status } from "../../native/file.ts";
import { ImageError } from "./errors.ts";
import { refuseOtherFormats } from "./probe.ts";

/** Throws, naming the option, if one of the images cannot be read. */
export function checkImages(
  { drives, blockNodes }: Pick<VirtualMachineConfig, "drives" | "blockNodes">,
): void {
  for (const { node } of drives) {
    if (node !== undefined) check(node, (path) => `-drive file=${path}`);
  }
  for (const node of blockNodes) {
    check(node, () => `-blockdev driver=${node.driver},node-name=${node.nodeName}`);
  }
}

/** `option` names the option by its image's path. */
function check(node: BlockNode, option: (path: string) => string, probed = false): void {
  if (node.driver === "null-co") return;
  if (node.driver === "raw") {
    if (typeof node.file !== "string") check(node.file, option, node.probed);
    return;
  }
  const { driver, filename: path } = node;
  // Descriptors of a set can only be taken by who keeps them.
  if (path.startsWith("/dev/fdset/")) return;
  try {
    using file = openFile(path, OpenFlags.readOnly | OpenFlags.nonBlocking);
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
