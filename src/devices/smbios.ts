/**
 * The SMBIOS structures of a PC and their entry point (SMBIOS specification 2.8), byte for byte as QEMU 11.1
 * gives them to firmware in the fw_cfg files `etc/smbios/smbios-tables` and `smbios-anchor`: system, chassis,
 * processors, memory, boot state.
 */
import { ascii, u16, u32, u64 } from "./acpi/system_table.ts";

/** What the structures say of the machine. Sizes are in bytes. */
export interface SmbiosMachine {
  /** Name of the machine's version, such as `pc-q35-11.1`. */
  readonly version: string;
  /** What the board is called, such as `Standard PC (Q35 + ICH9, 2009)`. */
  readonly product: string;
  /** The machine's UUID as it is written, if it has one. */
  readonly uuid?: string | undefined;
  /** One per socket. */
  readonly sockets: number;
  /** Of each socket, those that may be added counted. */
  readonly cores: number;
  /** Of each socket. */
  readonly threads: number;
  /** EAX and EDX of CPUID leaf 1: what the processor is and has. */
  readonly signature: { readonly eax: number; readonly edx: number };
  /** RAM as the guest sees it. */
  readonly ram: readonly { readonly start: number; readonly length: number }[];
}

/** The fw_cfg files that firmware puts the structures in memory from. */
export interface SmbiosFiles {
  /** The structures one after another. */
  readonly tables: Uint8Array<ArrayBuffer>;
  /** The entry point, without the structures' address and without checksums. */
  readonly anchor: Uint8Array<ArrayBuffer>;
}

export const SMBIOS_TABLES_FILE = "etc/smbios/smbios-tables";
export const SMBIOS_ANCHOR_FILE = "etc/smbios/smbios-anchor";
/** The entry point is found by searching 0xf0000 to 0xfffff in these steps. */
export const SMBIOS_ANCHOR_ALIGNMENT = 16;

const MANUFACTURER = "QEMU";
const NO_HANDLE = 0xfffe;
const MEMORY_ARRAY = 0x1000;
const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;
/** In MiB; a device of this size and more has its size in the extended field. */
const MEMORY_DEVICE_LIMIT = 0x7fff;
/** In KiB; capacities from here on are in extended fields. */
const ARRAY_LIMIT = 0x80000000;
const RANGE_LIMIT = 0xffffffff;
const CORES_LIMIT = 0xff;

const ANCHOR_LENGTH = 0x1f;
const ANCHOR_CHECKSUM = 4;
const ANCHOR_DMI = 0x10;
const ANCHOR_DMI_CHECKSUM = 0x15;
const ANCHOR_TABLES = 0x18;

/** Builds the structures and their entry point. */
export function buildSmbiosFiles(machine: SmbiosMachine): SmbiosFiles {
  const structures = [
    system(machine),
    chassis(machine),
    ...Array.from({ length: machine.sockets }, (_, socket) => processor(machine, socket)),
    ...memory(machine.ram),
    structure(32, 0x2000, [0, 0, 0, 0, 0, 0, 0]),
    structure(127, 0x7f00, []),
  ];
  const tables = structures.flat();
  const longest = Math.max(...structures.map(({ length }) => length));
  return {
    tables: Uint8Array.from(tables),
    anchor: Uint8Array.from([
      ...ascii("_SM_"),
      0,
      ANCHOR_LENGTH,
      2,
      8,
      ...u16(longest),
      ...new Array<number>(6).fill(0),
      ...ascii("_DMI_"),
      0,
      ...u16(tables.length),
      ...u32(0),
      ...u16(structures.length),
      0x28,
    ]),
  };
}

/**
 * The entry point as it lies in guest memory when no firmware runs, for structures at guest physical address
 * `tables`, which is below 4 GiB.
 */
export function linkSmbiosAnchor(files: SmbiosFiles, tables: number): Uint8Array<ArrayBuffer> {
  const anchor = files.anchor.slice();
  new DataView(anchor.buffer).setUint32(ANCHOR_TABLES, tables, true);
  anchor[ANCHOR_DMI_CHECKSUM] = checksum(anchor.subarray(ANCHOR_DMI));
  anchor[ANCHOR_CHECKSUM] = checksum(anchor);
  return anchor;
}

/** What makes the sum of all bytes zero, where it itself is zero yet. */
function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

/** A structure: its header, the fields, and the strings that the fields number from 1 on. */
function structure(
  type: number,
  handle: number,
  fields: readonly number[],
  ...strings: string[]
): number[] {
  const header = [type, 4 + fields.length, ...u16(handle)];
  if (strings.length === 0) return [...header, ...fields, 0, 0];
  return [...header, ...fields, ...strings.flatMap((text) => [...ascii(text), 0]), 0];
}

function system({ product, version, uuid }: SmbiosMachine): number[] {
  // Manufacturer, product, version, no serial number; the power switch woke it up; no SKU, no family.
  const fields = [1, 2, 3, 0, ...uuidBytes(uuid), 6, 0, 0];
  return structure(1, 0x100, fields, MANUFACTURER, product, version);
}

/** The first three parts are little-endian numbers. */
function uuidBytes(uuid: string | undefined): number[] {
  const hex = uuid?.replaceAll("-", "") ?? "";
  const bytes = Array.from(
    { length: 16 },
    (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16) || 0,
  );
  return [3, 2, 1, 0, 5, 4, 7, 6].map((i) => bytes[i] ?? 0).concat(bytes.slice(8));
}

function chassis({ version }: SmbiosMachine): number[] {
  // Manufacturer, other kind, version; states safe, security unknown.
  const fields = [1, 1, 2, 0, 0, 3, 3, 3, 2, ...u32(0), 0, 0, 0, 0, 0];
  return structure(3, 0x300, fields, MANUFACTURER, version);
}

function processor(machine: SmbiosMachine, socket: number): number[] {
  const { cores, threads, signature, version } = machine;
  const short = (count: number) => Math.min(count, CORES_LIMIT);
  const fields = [
    1, // socket
    3, // central processor
    0xfe, // family: see below
    2, // manufacturer
    ...u32(signature.eax),
    ...u32(signature.edx),
    3, // version
    0, // voltage
    ...u16(0), // external clock
    ...u16(2000), // MHz at most
    ...u16(2000), // MHz now
    0x41, // populated, enabled
    1, // other upgrade
    ...u16(0xffff), // no caches described
    ...u16(0xffff),
    ...u16(0xffff),
    0, // serial number
    0, // asset tag
    0, // part number
    short(cores),
    short(cores),
    short(threads),
    ...u16(2), // unknown characteristics
    ...u16(1), // other family
  ];
  return structure(4, 0x400 + socket, fields, `CPU ${socket}`, MANUFACTURER, version);
}

function memory(ram: SmbiosMachine["ram"]): number[][] {
  const size = ram.reduce((sum, { length }) => sum + length, 0);
  const kibibytes = Math.ceil(size / KIBIBYTE);
  const array = [
    1, // other location
    3, // system memory
    6, // multi-bit ECC
    ...u32(Math.min(kibibytes, ARRAY_LIMIT)),
    ...u16(NO_HANDLE),
    ...u16(1),
    ...u64(kibibytes < ARRAY_LIMIT ? 0 : size),
  ];
  return [
    structure(16, MEMORY_ARRAY, array),
    memoryDevice(size),
    ...ram.map(({ start, length }, index) => mappedAddress(index, start, length)),
  ];
}

function memoryDevice(size: number): number[] {
  const mebibytes = Math.ceil(size / MEBIBYTE);
  const extended = mebibytes >= MEMORY_DEVICE_LIMIT;
  const fields = [
    ...u16(MEMORY_ARRAY),
    ...u16(NO_HANDLE),
    ...u16(0xffff), // total width unknown
    ...u16(0xffff), // data width unknown
    ...u16(extended ? MEMORY_DEVICE_LIMIT : mebibytes),
    9, // DIMM
    0, // not in a set
    1, // locator
    0, // bank
    7, // RAM
    ...u16(2), // other details
    ...u16(0), // speed
    2, // manufacturer
    0, // serial number
    0, // asset tag
    0, // part number
    0, // rank
    ...u32(extended ? mebibytes : 0),
    ...u16(0), // speed now
    ...u16(0), // voltages
    ...u16(0),
    ...u16(0),
  ];
  return structure(17, 0x1100, fields, "DIMM 0", MANUFACTURER);
}

function mappedAddress(index: number, start: number, length: number): number[] {
  const first = start / KIBIBYTE;
  const last = (start + length) / KIBIBYTE - 1;
  const extended = last >= RANGE_LIMIT;
  const fields = [
    ...u32(extended ? RANGE_LIMIT : first),
    ...u32(extended ? RANGE_LIMIT : last),
    ...u16(MEMORY_ARRAY),
    1, // partition width
    ...u64(extended ? start : 0),
    ...u64(extended ? start + length - 1 : 0),
  ];
  return structure(19, 0x1300 + index, fields);
}
