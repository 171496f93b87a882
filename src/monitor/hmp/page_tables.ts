/**
 * The guest's page tables as `info mem` shows them: ranges of virtual addresses with the same
 * access rights. Formats: Intel SDM volume 3, chapter 4 (32-bit, PAE, 4-level and 5-level paging).
 */
import type { CpuRegisters } from "../context.ts";
import { hex } from "../human_readable.ts";

const CR0_PG = 1n << 31n;
const CR4_PSE = 1n << 4n;
const CR4_PAE = 1n << 5n;
const CR4_LA57 = 1n << 12n;
const EFER_LMA = 1n << 10n;

const PRESENT = 1n;
const WRITABLE = 1n << 1n;
const USER = 1n << 2n;
const LARGE = 1n << 7n;
const RIGHTS = PRESENT | WRITABLE | USER;
const ADDRESS = 0x000f_ffff_ffff_f000n;

const PAGE_SIZE = 4096;
/** Tables looked at: a guest's tables may be of any shape. */
const TABLE_LIMIT = 65536;

/** Reads guest-physical memory; `undefined` where there is no RAM. */
export type PhysicalReader = (address: number, length: number) => Uint8Array | undefined;

/** One level of tables: how much an entry covers, and how it is read. */
interface Level {
  /** Address bits below those that select an entry. */
  readonly shift: bigint;
  readonly entries: number;
  /** Entries may map memory themselves. */
  readonly leaves: boolean;
}

interface Format {
  readonly entrySize: 4 | 8;
  /** From the root on. */
  readonly levels: readonly Level[];
  /** Virtual addresses with this bit set continue with ones. */
  readonly signBit: bigint | undefined;
}

function level(shift: bigint, entries: number, leaves: boolean): Level {
  return { shift, entries, leaves };
}

function formatOf({ cr4, efer }: CpuRegisters): Format {
  if ((efer & EFER_LMA) !== 0n) {
    const four = [level(39n, 512, false), level(30n, 512, true), level(21n, 512, true)];
    const five = (cr4 & CR4_LA57) === 0n ? [] : [level(48n, 512, false)];
    const levels = [...five, ...four, level(12n, 512, true)];
    return { entrySize: 8, levels, signBit: five.length > 0 ? 56n : 47n };
  }
  if ((cr4 & CR4_PAE) !== 0n) {
    const levels = [level(30n, 4, false), level(21n, 512, true), level(12n, 512, true)];
    return { entrySize: 8, levels, signBit: undefined };
  }
  const large = (cr4 & CR4_PSE) !== 0n;
  const levels = [level(22n, 1024, large), level(12n, 1024, true)];
  return { entrySize: 4, levels, signBit: undefined };
}

interface Range {
  readonly start: bigint;
  readonly rights: bigint;
}

/** Walks the tables and joins neighbours with the same rights. */
class Walker {
  readonly #format: Format;
  readonly #read: PhysicalReader;
  #range: Range | undefined;
  #tables = 0;
  text = "";

  constructor(format: Format, read: PhysicalReader) {
    this.#format = format;
    this.#read = read;
  }

  walk(root: bigint): void {
    this.#walkTable(root, 0, 0n, RIGHTS);
    const [first] = this.#format.levels;
    this.#note(first === undefined ? 0n : BigInt(first.entries) << first.shift, 0n);
  }

  #walkTable(table: bigint, depth: number, base: bigint, above: bigint): void {
    const { entrySize, levels } = this.#format;
    const here = levels[depth];
    if (here === undefined || this.#tables++ >= TABLE_LIMIT) return;
    const bytes = this.#read(Number(table), Math.min(PAGE_SIZE, here.entries * entrySize));
    const view = bytes && new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let index = 0; index < here.entries; index++) {
      const start = base + (BigInt(index) << here.shift);
      const entry = view === undefined
        ? 0n
        : entrySize === 8
        ? view.getBigUint64(8 * index, true)
        : BigInt(view.getUint32(4 * index, true));
      if ((entry & PRESENT) === 0n) {
        this.#note(start, 0n);
        continue;
      }
      // The four entries at the top of PAE tables have no rights of their own.
      const own = entrySize === 8 && here.entries === 4 ? RIGHTS : entry & RIGHTS;
      const rights = above & own;
      const isLast = depth === levels.length - 1;
      if (isLast || (here.leaves && (entry & LARGE) !== 0n)) this.#note(start, rights);
      else this.#walkTable(entry & ADDRESS, depth + 1, start, rights);
    }
  }

  /** From `start` on the rights are `rights`. */
  #note(start: bigint, rights: bigint): void {
    if (this.#range?.rights === rights) return;
    if (this.#range !== undefined && this.#range.rights !== 0n) {
      const { start: first, rights: held } = this.#range;
      const letters = `${(held & USER) === 0n ? "-" : "u"}r${(held & WRITABLE) === 0n ? "-" : "w"}`;
      const digits = this.#format.signBit === undefined ? 8 : 16;
      const bounds = [this.#canonical(first), this.#canonical(start)].map((at) => hex(at, digits));
      this.text += `${bounds.join("-")} ${hex(start - first, digits)} ${letters}\n`;
    }
    this.#range = { start, rights };
  }

  #canonical(address: bigint): bigint {
    const { signBit } = this.#format;
    if (signBit === undefined || ((address >> signBit) & 1n) === 0n) return address;
    return BigInt.asUintN(64, BigInt.asIntN(Number(signBit) + 1, address));
  }
}

/** The text of `info mem` for a vCPU with these registers. */
export function describePageTables(registers: CpuRegisters, read: PhysicalReader): string {
  if ((registers.cr0 & CR0_PG) === 0n) return "PG disabled\n";
  const format = formatOf(registers);
  const walker = new Walker(format, read);
  const pae = format.levels[0]?.entries === 4;
  walker.walk(registers.cr3 & (pae ? 0xffff_ffe0n : ADDRESS));
  return walker.text;
}
