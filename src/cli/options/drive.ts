/** One -drive, read: the older way to name an image, with the treatment of its errors. */
import { InformationRequest } from "../information.ts";
import { OptionError } from "../../configuration/errors.ts";
import {
  boolean,
  given,
  integer,
  limited,
  type PropertiesOf,
  refused,
  size,
  text,
} from "../../configuration/property.ts";
import { readProperties } from "../property_reader.ts";
import type {
  BlockErrorAction,
  BlockNode,
  BlockNodeOptions,
  DriveConfig,
} from "../../configuration/block.ts";
import { checkAio, checkNodeName, driverAdvice } from "./block_node.ts";

const noThrottle = limited(integer("uint64"), [0], "limit I/O with the host's cgroups");

const driveProperties = {
  id: text("Name of the drive"),
  if: text("none: a device takes it"),
  file: text("Image"),
  format: text("raw"),
  driver: text("As format"),
  index: integer("uint64", "Place among the drives"),
  bus: integer("uint64"),
  unit: integer("uint64"),
  media: text("disk or cdrom"),
  "read-only": boolean("The guest cannot write"),
  snapshot: limited(boolean(), [false], "work on a copy of the image"),
  cache: text("writeback, writethrough, none, directsync or unsafe"),
  "cache.direct": boolean("Bypass the host's cache"),
  "cache.no-flush": boolean("Do not pass flushes on"),
  "cache.writeback": boolean("Writes are complete once they are in the host's cache"),
  aio: text("threads, native or io_uring"),
  discard: text("ignore or unmap"),
  "detect-zeroes": text("off, on or unmap"),
  werror: text("report, ignore, enospc or stop"),
  rerror: text("report, ignore or stop"),
  "copy-on-read": limited(boolean(), [false], "images have no backing files; leave it off"),
  "node-name": text("Name of the block node"),
  "force-share": boolean("Other processes may write"),
  "auto-read-only": boolean("Open read-only if writing is not possible"),
  offset: size("First byte"),
  size: size("Bytes"),
  "file.driver": text("file or host_device"),
  "file.filename": text("Image"),
  "file.locking": text("on, off or auto"),
  "file.aio": text("As aio"),
  "file.node-name": text("Name of the block node below"),
  bps: noThrottle,
  bps_rd: noThrottle,
  bps_wr: noThrottle,
  iops: noThrottle,
  iops_rd: noThrottle,
  iops_wr: noThrottle,
  "throttling.bps-total": noThrottle,
  "throttling.bps-read": noThrottle,
  "throttling.bps-write": noThrottle,
  "throttling.iops-total": noThrottle,
  "throttling.iops-read": noThrottle,
  "throttling.iops-write": noThrottle,
  group: refused("limit I/O with the host's cgroups"),
};
type DriveValues = PropertiesOf<typeof driveProperties>;

/** Every kind of bus that QEMU has for drives. */
const interfaces = ["none", "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio", "xen"];

interface CacheMode {
  readonly direct: boolean;
  readonly noFlush: boolean;
  readonly writeback: boolean;
}

const cacheModes: ReadonlyMap<string, CacheMode> = new Map([
  ["writeback", { direct: false, noFlush: false, writeback: true }],
  ["writethrough", { direct: false, noFlush: false, writeback: false }],
  ["none", { direct: true, noFlush: false, writeback: true }],
  ["off", { direct: true, noFlush: false, writeback: true }],
  ["directsync", { direct: true, noFlush: false, writeback: false }],
  ["unsafe", { direct: false, noFlush: true, writeback: true }],
]);

const aioKinds = ["threads", "native", "io_uring"] as const;
const lockings = ["auto", "on", "off"] as const;
const zeroDetections = ["off", "on", "unmap"] as const;
const writeErrorActions = ["report", "ignore", "enospc", "stop"] as const;
const readErrorActions = ["report", "ignore", "stop"] as const;

/** `value` if it is one of `words`. */
function oneOf<Word extends string>(
  words: readonly Word[],
  value: string,
  complaint: string,
): Word {
  const word = words.find((word) => word === value);
  if (word === undefined) throw new OptionError(complaint);
  return word;
}

/**
 * Reads what one -drive says. `values` are its properties, `indexes` those that other drives have taken.
 */
export function readDrive(
  values: Readonly<Record<string, string>>,
  where: string,
  indexes: ReadonlySet<number>,
): DriveConfig {
  const { readonly, ...others } = values;
  const normal = readonly === undefined ? others : { "read-only": readonly, ...others };
  const image = ["file", "file.filename", "format", "driver"];
  for (const name of Object.keys(normal)) {
    if (Object.hasOwn(driveProperties, name)) continue;
    if (!image.some((name) => Object.hasOwn(normal, name))) {
      throw new OptionError(`${where}Must specify either driver or file`);
    }
    throw new OptionError(
      name.startsWith("file.")
        ? `${where}Block protocol 'file' doesn't support the option '${name.slice(5)}'`
        : `${where}Block format 'raw' does not support the option '${name}'`,
    );
  }
  const read = readProperties(driveProperties, { dialect: "options", where }, normal);
  checkInterface(read, where);
  const index = place(read, where, indexes);
  const mode = cacheModes.get(read.cache ?? "writeback");
  if (mode === undefined) throw new OptionError(`${where}invalid cache option`);
  const writeError = read.werror ?? "enospc";
  const readError = read.rerror ?? "report";
  const media = read.media ?? "disk";
  const config = {
    // QEMU's own names for drives without one: a bus for each drive, with one unit.
    id: read.id ?? `none${index}0`,
    media: oneOf(["disk", "cdrom"], media, `${where}'${media}' invalid media`),
    index,
    writeback: read["cache.writeback"] ?? mode.writeback,
    writeError: action(writeErrorActions, writeError, `${where}'${writeError}' invalid write`),
    readError: action(readErrorActions, readError, `${where}'${readError}' invalid read`),
  };
  const node = medium(read, mode, where);
  return { ...config, ...given({ node }) };
}

function action(
  words: readonly BlockErrorAction[],
  value: string,
  complaint: string,
): BlockErrorAction {
  return oneOf(words, value, `${complaint} error action`);
}

/** Only devices take drives: there is no controller that takes them by itself. */
function checkInterface({ if: bus = "none" }: DriveValues, where: string): void {
  if (!interfaces.includes(bus)) throw new OptionError(`${where}unsupported bus type '${bus}'`);
  if (bus === "none") return;
  throw new OptionError(
    `${where}machine type does not support if=${bus},bus=0,unit=0`,
    "use 'if=none,id=ID' and '-device virtio-blk-device,drive=ID'",
  );
}

function place(
  { index, bus, unit }: DriveValues,
  where: string,
  taken: ReadonlySet<number>,
): number {
  if (index !== undefined && (bus !== undefined || unit !== undefined)) {
    throw new OptionError(`${where}index cannot be used with bus and unit`);
  }
  if (unit !== undefined && unit > 0) {
    throw new OptionError(`${where}unit ${unit} too big (max is 0)`);
  }
  const asked = index ?? bus;
  if (asked !== undefined) {
    if (!taken.has(asked)) return asked;
    throw new OptionError(`${where}drive with bus=${asked}, unit=0 (index=${asked}) exists`);
  }
  let free = 0;
  while (taken.has(free)) free++;
  return free;
}

/** The image, `undefined` for a drive without. */
function medium(
  read: DriveValues,
  mode: CacheMode,
  where: string,
): BlockNode | undefined {
  const { driver, format } = read;
  if (driver !== undefined && format !== undefined) {
    throw new OptionError(`${where}Cannot specify both 'driver' and 'format'`);
  }
  const kind = format ?? driver;
  if (kind === "help" || kind === "?") {
    const formats = "file host_device null-co raw";
    throw new InformationRequest(
      `Supported formats: ${formats}\nSupported formats (read-only): ${formats}`,
    );
  }
  const filename = read.file ?? read["file.filename"];
  if (filename === undefined && kind === undefined) return undefined;
  if (filename === undefined || filename === "") {
    throw new OptionError(`${where}A block device must be specified for "file"`);
  }
  if (kind !== undefined && kind !== "raw") {
    throw new OptionError(`${where}Unknown driver '${kind}'`, driverAdvice(kind));
  }
  const common = nodeOptions(read, mode, where);
  return {
    ...common,
    ...given({ nodeName: nodeName(read["node-name"], where), size: read.size }),
    driver: "raw",
    probed: kind === undefined,
    offset: read.offset ?? 0,
    file: { ...common, ...fileNode(read, filename, where) },
  };
}

function nodeName(name: string | undefined, where: string): string | undefined {
  if (name !== undefined) checkNodeName(name, where);
  return name;
}

function nodeOptions(
  read: DriveValues,
  mode: CacheMode,
  where: string,
): Omit<BlockNodeOptions, "nodeName"> {
  const detectZeroes = read["detect-zeroes"] ?? "off";
  return {
    readOnly: read["read-only"] ?? read.media === "cdrom",
    autoReadOnly: read["auto-read-only"] ?? false,
    direct: read["cache.direct"] ?? mode.direct,
    noFlush: read["cache.no-flush"] ?? mode.noFlush,
    discard: discard(read.discard, where),
    detectZeroes: oneOf(
      zeroDetections,
      detectZeroes,
      `${where}invalid parameter value: ${detectZeroes}`,
    ),
    forceShare: read["force-share"] ?? false,
  };
}

function discard(value: string | undefined, where: string): "ignore" | "unmap" {
  switch (value) {
    case undefined:
    case "ignore":
    case "off":
      return "ignore";
    case "unmap":
    case "on":
      return "unmap";
    default:
      throw new OptionError(`${where}Invalid discard option`);
  }
}

function fileNode(
  read: DriveValues,
  filename: string,
  where: string,
): Pick<BlockNode & { driver: "file" }, "driver" | "filename" | "locking" | "aio" | "nodeName"> {
  const protocol = /^([^:/]+):/.exec(filename)?.[1];
  if (protocol !== undefined && protocol !== "file") {
    throw new OptionError(
      `${where}Unknown protocol '${protocol}'`,
      protocol === "json" ? "use -blockdev with this description" : undefined,
    );
  }
  const driver = read["file.driver"] ?? "file";
  if (driver !== "file" && driver !== "host_device") {
    throw new OptionError(`${where}Unknown driver '${driver}'`, driverAdvice(driver));
  }
  const aio = oneOf(
    aioKinds,
    read.aio ?? read["file.aio"] ?? "threads",
    `${where}invalid aio option`,
  );
  checkAio(aio, read["cache.direct"] ?? cacheModes.get(read.cache ?? "")?.direct ?? false, where);
  const locking = read["file.locking"] ?? "auto";
  return {
    driver: "file",
    filename: protocol === "file" ? filename.slice("file:".length) : filename,
    locking: oneOf(lockings, locking, `${where}invalid parameter value: ${locking}`),
    aio,
    ...given({ nodeName: nodeName(read["file.node-name"], where) }),
  };
}
