/** Block nodes as -blockdev and QMP's blockdev-add describe them. */
import { OptionError } from "../../configuration/errors.ts";
import {
  boolean,
  choice,
  defaulting,
  given,
  integer,
  onOffAuto,
  type PropertiesOf,
  record,
  refused,
  required,
  text,
  tree,
} from "../../configuration/property.ts";
import { readProperties, type Source } from "../property_reader.ts";
import { isObject, type Tree, type TreeObject } from "../syntax.ts";
import { discriminator, without } from "../option.ts";
import { isIdentifier } from "../../configuration/values.ts";
import type { BlockNode, BlockNodeOptions } from "../../configuration/block.ts";

const cacheProperties = {
  direct: defaulting(boolean("Bypass the host's cache"), false),
  "no-flush": defaulting(boolean("Do not pass flushes on"), false),
};

/** Properties of every node. */
const commonProperties = {
  "node-name": text("Name of the node"),
  discard: defaulting(choice(["ignore", "unmap"], "What discards do"), "ignore"),
  cache: record(cacheProperties, "How the host caches"),
  "read-only": defaulting(boolean("The guest cannot write"), false),
  "auto-read-only": defaulting(boolean("Open read-only if writing is not possible"), false),
  "force-share": defaulting(boolean("Other processes may write"), false),
  "detect-zeroes": defaulting(choice(["off", "on", "unmap"], "What writes of zeroes do"), "off"),
};

const fileProperties = {
  ...commonProperties,
  filename: required(text("Path")),
  "pr-manager": refused("persistent reservations are not passed on"),
  locking: defaulting(onOffAuto("Lock the file"), "auto"),
  aio: defaulting(choice(["threads", "native", "io_uring"], "How requests are run"), "threads"),
  "aio-max-batch": defaulting(integer("int64"), 0),
  "drop-cache": defaulting(boolean(), true),
  "x-check-cache-dropped": defaulting(boolean(), false),
};

const nullProperties = {
  ...commonProperties,
  size: defaulting(integer("int64", "Bytes"), 2 ** 30),
  "latency-ns": defaulting(integer("uint64", "Time of each request"), 0),
  "read-zeroes": defaulting(boolean("Reads give zeroes"), false),
};

const rawProperties = {
  ...commonProperties,
  file: required(tree("The node below")),
  offset: defaulting(integer("int64", "First byte"), 0),
  size: integer("int64", "Bytes"),
};

/** Drivers that QEMU has and molt has not. */
const foreignDrivers = new Set([
  ...["blkdebug", "blklogwrites", "blkreplay", "blkverify", "bochs", "cloop", "compress"],
  ...["copy-before-write", "copy-on-read", "dmg", "file-posix", "ftp", "ftps", "gluster"],
  ...["host_cdrom", "http", "https", "io_uring", "iscsi", "luks", "nbd", "nfs", "null-aio"],
  ...["nvme", "nvme-io_uring", "parallels", "preallocate", "qcow", "qcow2", "qed", "quorum"],
  ...["rbd", "replication", "snapshot-access", "ssh", "throttle", "vdi", "vhdx", "vmdk"],
  ...["virtio-blk-vfio-pci", "virtio-blk-vhost-user", "virtio-blk-vhost-vdpa", "vpc", "vvfat"],
]);

/** What to do instead of using a driver that molt has not; `undefined` if QEMU has not either. */
export function driverAdvice(driver: string): string | undefined {
  if (!foreignDrivers.has(driver)) return undefined;
  return "molt has the drivers file, host_device, null-co and raw: " +
    `convert other images with 'qemu-img convert -O raw'`;
}

/** Reads a node and those below it. `prefix` (`file.`) stands before names. */
export function readBlockNode(values: TreeObject, source: Source, prefix = ""): BlockNode {
  const driver = discriminator(values, "driver", source.where, prefix);
  const rest = without(values, "driver");
  switch (driver) {
    case "file":
    case "host_device":
      return fileNode(driver, readProperties(fileProperties, source, rest, prefix), source);
    case "null-co":
      return nullNode(readProperties(nullProperties, source, rest, prefix), source);
    case "raw": {
      const read = readProperties(rawProperties, source, rest, prefix);
      const file = reference(read.file, source, `${prefix}file`);
      const { offset, size } = read;
      if (offset < 0 || (size ?? 0) < 0) {
        throw new OptionError(`${source.where}Parameters 'offset' and 'size' cannot be negative`);
      }
      const node = { driver, ...common(read, source), file, offset, probed: false } as const;
      return { ...node, ...given({ size }) };
    }
    default:
      throw new OptionError(
        `${source.where}Parameter 'driver' does not accept value '${driver}'`,
        driverAdvice(driver),
      );
  }
}

/** A node below: a name, or a description. */
function reference(value: Tree, source: Source, name: string): string | BlockNode {
  if (typeof value === "string") return value;
  if (isObject(value)) return readBlockNode(value, source, `${name}.`);
  throw new OptionError(
    `${source.where}Invalid parameter type for '${name}', expected: BlockdevRef`,
  );
}

/** Checks a node's name. */
export function checkNodeName(name: string, where: string): void {
  if (!isIdentifier(name)) throw new OptionError(`${where}Invalid node-name: '${name}'`);
}

function common(
  read: PropertiesOf<typeof commonProperties>,
  { where }: Source,
): BlockNodeOptions {
  const nodeName = read["node-name"];
  if (nodeName !== undefined) checkNodeName(nodeName, where);
  const { discard, "detect-zeroes": detectZeroes } = read;
  if (detectZeroes === "unmap" && discard !== "unmap") {
    throw new OptionError(
      `${where}setting detect-zeroes to unmap is not allowed without setting discard ` +
        "operation to unmap",
    );
  }
  return {
    ...given({ nodeName }),
    readOnly: read["read-only"],
    autoReadOnly: read["auto-read-only"],
    direct: read.cache?.direct ?? false,
    noFlush: read.cache?.["no-flush"] ?? false,
    discard,
    detectZeroes,
    forceShare: read["force-share"],
  };
}

function fileNode(
  driver: "file" | "host_device",
  read: PropertiesOf<typeof fileProperties>,
  source: Source,
): BlockNode {
  const { filename, locking, aio } = read;
  checkAio(aio, read.cache?.direct ?? false, source.where);
  return { driver, ...common(read, source), filename, locking, aio };
}

/** Linux AIO works only beside the host's cache. */
export function checkAio(aio: string, direct: boolean, where: string): void {
  if (aio !== "native" || direct) return;
  throw new OptionError(
    `${where}aio=native was specified, but it requires cache.direct=on, which was not specified.`,
  );
}

function nullNode(read: PropertiesOf<typeof nullProperties>, source: Source): BlockNode {
  const { size, "latency-ns": latencyNs, "read-zeroes": readZeroes } = read;
  if (size < 0) throw new OptionError(`${source.where}Parameter 'size' cannot be negative`);
  return { driver: "null-co", ...common(read, source), size, latencyNs, readZeroes };
}

/** The names of nodes that `node` and those below it refer to, and those that they have. */
export function nodeNames(
  node: BlockNode,
): { readonly defined: readonly string[]; readonly used: readonly string[] } {
  const own = node.nodeName === undefined ? [] : [node.nodeName];
  if (node.driver !== "raw") return { defined: own, used: [] };
  if (typeof node.file === "string") return { defined: own, used: [node.file] };
  const below = nodeNames(node.file);
  return { defined: [...own, ...below.defined], used: below.used };
}
