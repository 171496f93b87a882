/**
 * What the tables of all boards have in common: the header, and the file `etc/acpi/tables` in which they stand
 * one after another, with the commands that link them (ACPI specification 6.5, chapter 5.2.6).
 */
import { ACPI_RSDP_FILE, ACPI_TABLES_FILE } from "../fw_cfg.ts";
import { type LoaderCommand, runLoader } from "./table_loader.ts";

export const OEM_ID = "BOCHS ";
const OEM_TABLE_ID = "BXPC    ";
const CREATOR_ID = "BXPC";
export const HEADER_SIZE = 36;
const HEADER_CHECKSUM = 9;

/** The fw_cfg files that firmware makes the tables from. */
export interface AcpiFiles {
  /** `etc/acpi/tables` */
  tables: Uint8Array<ArrayBuffer>;
  /** `etc/table-loader` */
  loader: Uint8Array<ArrayBuffer>;
  /** `etc/acpi/rsdp` */
  rsdp: Uint8Array<ArrayBuffer>;
  /** What `loader` says. */
  commands: readonly LoaderCommand[];
}

/** Alignment of the tables file and of the RSDP. */
export const ACPI_TABLES_ALIGNMENT = 64;
export const ACPI_RSDP_ALIGNMENT = 16;

/**
 * The tables as they lie in guest memory when no firmware runs: linked for the guest physical
 * addresses at which the caller puts them (of the alignments above; the RSDP below 1 MiB, from 0xe0000
 * on, if the guest is to find it by searching).
 */
export function linkAcpiFiles(
  files: AcpiFiles,
  addresses: { tables: number; rsdp: number },
): { tables: Uint8Array<ArrayBuffer>; rsdp: Uint8Array<ArrayBuffer> } {
  const tables = files.tables.slice();
  const rsdp = files.rsdp.slice();
  runLoader(
    files.commands,
    new Map([
      [ACPI_TABLES_FILE, { bytes: tables, address: addresses.tables }],
      [ACPI_RSDP_FILE, { bytes: rsdp, address: addresses.rsdp }],
    ]),
  );
  return { tables, rsdp };
}

/**
 * The file of tables while it is made. A pointer in a table is written as an offset in this file; the commands
 * make an address of it.
 */
export class TableFile {
  readonly commands: LoaderCommand[] = [
    { kind: "allocate", file: ACPI_RSDP_FILE, alignment: ACPI_RSDP_ALIGNMENT, zone: "fseg" },
    { kind: "allocate", file: ACPI_TABLES_FILE, alignment: ACPI_TABLES_ALIGNMENT, zone: "high" },
  ];
  readonly #bytes: number[] = [];

  /**
   * Adds a table with its checksum and returns its offset. `pointers` are the places in it, as offset and
   * size, that hold an offset in this file.
   */
  append(bytes: readonly number[] | Uint8Array, pointers: readonly [number, 4 | 8][] = []): number {
    const start = this.appendRaw(bytes);
    for (const [offset, size] of pointers) {
      this.commands.push({
        kind: "add pointer",
        file: ACPI_TABLES_FILE,
        source: ACPI_TABLES_FILE,
        offset: start + offset,
        size,
      });
    }
    this.commands.push({
      kind: "add checksum",
      file: ACPI_TABLES_FILE,
      offset: start + HEADER_CHECKSUM,
      start,
      length: bytes.length,
    });
    return start;
  }

  /** Adds a table that has no checksum (FACS) and returns its offset. */
  appendRaw(bytes: readonly number[] | Uint8Array): number {
    const start = this.#bytes.length;
    for (const byte of bytes) this.#bytes.push(byte);
    return start;
  }

  /** The tables so far. */
  bytes(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes);
  }
}

/** A table with the common header; the checksum is made when it is linked. */
export function table(signature: string, revision: number, body: readonly number[]): number[] {
  return [
    ...ascii(signature),
    ...u32(HEADER_SIZE + body.length),
    revision,
    0,
    ...ascii(OEM_ID),
    ...ascii(OEM_TABLE_ID),
    ...u32(1),
    ...ascii(CREATOR_ID),
    ...u32(1),
    ...body,
  ];
}

/** One byte per character. */
export function ascii(text: string): number[] {
  return [...text].map((character) => character.charCodeAt(0));
}

/** Little-endian. */
export function u16(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff];
}

/** Little-endian. */
export function u32(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
}

/** Little-endian; addresses fit a number. */
export function u64(value: number): number[] {
  return [...u32(value >>> 0), ...u32(Math.floor(value / 2 ** 32))];
}
