/**
 * The script in the fw_cfg file `etc/table-loader`, by which firmware places tables and links them:
 * records of 128 bytes that say where a file goes, where it holds an address of another file, and
 * which bytes need a checksum (QEMU's docs/specs/acpi... bios-linker-loader; the same records are in
 * SeaBIOS, OVMF and qboot).
 */

/** The memory in which a file must be placed: below 4 GiB, or 0xe0000 to 0xfffff. */
export type Zone = "high" | "fseg";

/** One record. Offsets and lengths are in bytes. */
export type LoaderCommand =
  | { kind: "allocate"; file: string; alignment: number; zone: Zone }
  /** The little-endian number of `size` bytes at `offset` of `file` gets `source`'s address added. */
  | { kind: "add pointer"; file: string; source: string; offset: number; size: 4 | 8 }
  /** The byte at `offset` makes the sum of the bytes from `start` zero. */
  | { kind: "add checksum"; file: string; offset: number; start: number; length: number };

const RECORD_SIZE = 128;
const FILE_NAME_SIZE = 56;
const ZONES = { high: 1, fseg: 2 } as const;
const ALLOCATE = 1;
const ADD_POINTER = 2;
const ADD_CHECKSUM = 3;

/** The commands as the file's bytes. */
export function encodeLoader(commands: readonly LoaderCommand[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(commands.length * RECORD_SIZE);
  const view = new DataView(bytes.buffer);
  const putName = (at: number, name: string) => bytes.set(new TextEncoder().encode(name), at);
  commands.forEach((command, index) => {
    const record = index * RECORD_SIZE;
    const file = record + 4;
    const operands = file + FILE_NAME_SIZE;
    putName(file, command.file);
    switch (command.kind) {
      case "allocate":
        view.setUint32(record, ALLOCATE, true);
        view.setUint32(operands, command.alignment, true);
        view.setUint8(operands + 4, ZONES[command.zone]);
        break;
      case "add pointer":
        view.setUint32(record, ADD_POINTER, true);
        putName(operands, command.source);
        view.setUint32(operands + FILE_NAME_SIZE, command.offset, true);
        view.setUint8(operands + FILE_NAME_SIZE + 4, command.size);
        break;
      case "add checksum":
        view.setUint32(record, ADD_CHECKSUM, true);
        view.setUint32(operands, command.offset, true);
        view.setUint32(operands + 4, command.start, true);
        view.setUint32(operands + 8, command.length, true);
        break;
    }
  });
  return bytes;
}

/** A file and the guest physical address where it was placed. */
export interface PlacedFile {
  bytes: Uint8Array;
  address: number;
}

/** Does what firmware does with the commands: links the files, in place, for their addresses. */
export function runLoader(
  commands: readonly LoaderCommand[],
  files: ReadonlyMap<string, PlacedFile>,
): void {
  const placed = (name: string) => {
    const file = files.get(name);
    if (file === undefined) throw new RangeError(`the table loader names a missing file ${name}`);
    return file;
  };
  for (const command of commands) {
    const { bytes } = placed(command.file);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    switch (command.kind) {
      case "allocate":
        break;
      case "add pointer": {
        const address = BigInt(placed(command.source).address);
        if (command.size === 4) {
          const sum = BigInt(view.getUint32(command.offset, true)) + address;
          view.setUint32(command.offset, Number(BigInt.asUintN(32, sum)), true);
        } else {
          view.setBigUint64(
            command.offset,
            view.getBigUint64(command.offset, true) + address,
            true,
          );
        }
        break;
      }
      case "add checksum": {
        bytes[command.offset] = 0;
        let sum = 0;
        for (let i = 0; i < command.length; i++) sum += bytes[command.start + i] ?? 0;
        bytes[command.offset] = -sum & 0xff;
        break;
      }
    }
  }
}
