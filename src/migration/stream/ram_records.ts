/**
 * The body of the `ram` section: records up to one that ends it. Each begins with a u64 that holds an
 * address or size in its high bits and flags in the low 12. START has a block list; PART and END have
 * pages. Records of pages are parsed by the C library (ffi/ram_record.c), here one by one, which leaves a
 * page's content in the reader's buffer, or many at once where they are loaded (stream_reader.ts).
 *
 * State between records, and from one section to the next of a stream: the blocks of the list, the block
 * of the latest page record, and how much of a block list is still to come.
 */
import { type PageRecord, PageRecordReader } from "../../native/ram_record.ts";
import type { StateReader, VmStateError } from "../../vmstate/vmstate.ts";
import { blockMaximum, pageSize, RamFlag } from "./constants.ts";
import { StreamError } from "./errors.ts";
import { type MappedRamPlace, readMappedRamHeader } from "./mapped_ram.ts";
import { xbzrleError } from "./xbzrle.ts";

/** An entry of the block list. */
export interface RamBlockEntry {
  readonly name: string;
  /** Bytes in use, whole pages. */
  readonly length: number;
  /** Size of the pages behind it on the source's host, if the list says so. */
  readonly hostPageSize: number | undefined;
  /** Guest physical address, if the list says so (x-ignore-shared). */
  readonly guestAddress: number | undefined;
  /** With mapped-ram, where it lies in the file; `undefined` if it is not saved there. */
  readonly mapped: MappedRamPlace | undefined;
}

/** A record of the `ram` section. */
export type RamRecord =
  /** All blocks. `total` is the sum of their lengths. */
  | { readonly kind: "blocks"; readonly total: number; readonly blocks: readonly RamBlockEntry[] }
  /** The page at `offset` of the block is zero. */
  | { readonly kind: "zero page"; readonly block: RamBlockEntry; readonly offset: number }
  /** The page's content lies at index `data` of the reader's bytes. */
  | {
    readonly kind: "page";
    readonly block: RamBlockEntry;
    readonly offset: number;
    readonly data: number;
  }
  /** The page as a difference: `size` bytes at index `data` of the reader's bytes. */
  | {
    readonly kind: "xbzrle page";
    readonly block: RamBlockEntry;
    readonly offset: number;
    readonly data: number;
    readonly size: number;
  }
  /** Pages on other connections up to their next synchronisation belong before this. */
  | { readonly kind: "multifd flush" }
  /** Nothing to do. */
  | { readonly kind: "hook" }
  /** The section's body is over. */
  | { readonly kind: "end of records" };

/** Which optional parts the block list has. */
export interface RamFormat {
  /** x-ignore-shared: entries have guest physical addresses. */
  ignoreShared: boolean;
  /** mapped-ram: entries have headers, and pages lie at fixed offsets. */
  mappedRam: boolean;
  /** Postcopy was advised: entries of blocks with other than 4 KiB pages say their size. */
  postcopy: boolean;
  /** Host page size of a local block; matters with postcopy only. */
  hostPageSize(block: string): number;
}

/** What follows in the stream is not for the reader of records: it goes on at this stream offset. */
export interface ContinueAt {
  readonly kind: "continue at";
  readonly offset: number;
}

/** A block list being read. */
interface BlockList {
  readonly total: number;
  /** Bytes of the total that are not listed yet. */
  left: number;
  readonly blocks: RamBlockEntry[];
}

/** Reads records of the `ram` section. */
export class RamRecordReader {
  readonly #format: RamFormat;
  #blocks: readonly RamBlockEntry[] = [];
  #pages = new PageRecordReader([]);
  /** Index of the block that the latest record of a page was of; -1: there was none. */
  #current = -1;
  #list: BlockList | undefined;

  constructor(format: RamFormat) {
    this.#format = format;
  }

  /**
   * Whether records of pages come next, which somebody may take in bulk: there is a block list, and it is
   * not of a mapped-ram file.
   */
  pagesAhead(reader: StateReader): boolean {
    if (this.#blocks.length === 0 || this.#list !== undefined || this.#format.mappedRam) {
      return false;
    }
    const { offset } = reader;
    if (reader.remaining < 8) return false;
    reader.skip(4);
    const flags = reader.u32() & 0xfff;
    reader.offset = offset;
    return isPage(flags);
  }

  /** The name of the block that the latest record of a page was of. */
  get currentBlock(): string | undefined {
    return this.#blocks[this.#current]?.name;
  }

  set currentBlock(name: string | undefined) {
    this.#current = this.#blocks.findIndex((block) => block.name === name);
  }

  /**
   * The next record, or where reading has to continue, or neither when a part of a block list was read.
   * Throws OutOfDataError, having changed nothing, if the record is not complete.
   */
  read(reader: StateReader): RamRecord | ContinueAt | undefined {
    if (this.#list !== undefined) {
      return this.#list.left === 0
        ? this.#endList(this.#list)
        : this.#readEntry(reader, this.#list);
    }
    const start = reader.streamOffset;
    const high = reader.u32();
    const low = reader.u32();
    const flags = low & 0xfff;
    const address = high * 0x1_0000_0000 + (low - flags);
    if (isPage(flags)) {
      if (this.#format.mappedRam) throw this.#unexpected(flags & ~RamFlag.continue, start);
      return this.#readPage(reader, reader.offset - 8);
    }
    switch (flags) {
      case RamFlag.memSize:
        if (high >= 0x20_0000) throw new StreamError(`RAM size ${high} * 2^32 is too large`, start);
        this.#list = { total: address, left: address, blocks: [] };
        return undefined;
      case RamFlag.eos:
        if (address !== 0) break;
        return { kind: "end of records" };
      case RamFlag.multifdFlush:
        if (address !== 0) break;
        if (this.#format.mappedRam) throw this.#unexpected(flags, start);
        return { kind: "multifd flush" };
      case RamFlag.hook:
        if (address !== 0) break;
        if (this.#format.mappedRam) throw this.#unexpected(flags, start);
        return { kind: "hook" };
    }
    throw new StreamError(
      address === 0 || (flags & (RamFlag.eos | RamFlag.multifdFlush | RamFlag.hook)) === 0
        ? `Unknown combination of migration flags: 0x${flags.toString(16)}`
        : `migration flags 0x${flags.toString(16)} come with address 0x${address.toString(16)}`,
      start,
    );
  }

  /** Reads the record of a page at index `start`. */
  #readPage(reader: StateReader, start: number): RamRecord {
    const page = this.#pages.read(reader.bytes, start, reader.end, this.#current);
    const block = this.#blocks[page.block];
    if (page.outcome !== "complete" || block === undefined) {
      throw this.#pageError(reader, reader.base + start, page);
    }
    reader.offset = page.end;
    this.#current = page.block;
    const { kind, offset, data, size } = page;
    switch (kind) {
      case "page":
        return { kind, block, offset, data };
      case "zero page":
        return { kind, block, offset };
      case "xbzrle page":
        return { kind, block, offset, data, size };
    }
  }

  /** What is wrong with the record of a page that begins at offset `start` of the stream. */
  #pageError(reader: StateReader, start: number, page: PageRecord): VmStateError {
    const { outcome, data, size } = page;
    reader.offset = data;
    switch (outcome) {
      case "incomplete":
        reader.skip(size);
        break;
      case "no block":
        return new StreamError("Ack, bad migration stream!", start);
      case "unknown block":
        return new StreamError(`Can't find block ${reader.string8()}`, start);
      case "bad offset": {
        const { name } = this.#blocks[page.block]!;
        const offset = page.address.toString(16);
        return new StreamError(`Illegal RAM offset ${offset} in block ${name}`, start);
      }
      case "bad fill":
        return new StreamError(`Found a zero page with value ${reader.u8()}`, start);
      case "bad encoding":
        return new StreamError(
          `Failed to load XBZRLE page - wrong compression! (${reader.u8()})`,
          start,
        );
      case "bad length":
        return new StreamError(`Failed to load XBZRLE page - len overflow! (${size})`, start);
      case "bad difference":
        return xbzrleError(reader.streamOffset);
      case "no page":
      case "complete":
        break;
    }
    throw new Error(`a page's record at ${start} is ${outcome}`);
  }

  #unexpected(flags: number, start: number): StreamError {
    return new StreamError(`Unexpected RAM flags: ${flags.toString(16)}`, start);
  }

  /** Reads one entry of the block list. */
  #readEntry(reader: StateReader, list: BlockList): ContinueAt | undefined {
    const start = reader.streamOffset;
    const name = reader.string8();
    const length = reader.u64Number();
    if (length === 0 || length % pageSize !== 0 || length > list.left) {
      throw new StreamError(
        `ramblock '${name}' has ${length} bytes, of ${list.left} that are left of the total`,
        start,
      );
    }
    if (list.blocks.length === blockMaximum || list.blocks.some((block) => block.name === name)) {
      throw new StreamError(
        `ramblock '${name}' is listed twice or is one of more than ${blockMaximum}`,
        start,
      );
    }
    const hostPageSize = this.#format.postcopy && this.#format.hostPageSize(name) !== pageSize
      ? reader.u64Number()
      : undefined;
    const guestAddress = this.#format.ignoreShared ? reader.u64Number() : undefined;
    const mapped = this.#format.mappedRam ? readMappedRamHeader(reader, name, length) : undefined;
    const block = { name, length, hostPageSize, guestAddress, mapped };
    list.blocks.push(block);
    list.left -= length;
    return mapped === undefined
      ? undefined
      : { kind: "continue at", offset: mapped.pagesOffset + length };
  }

  #endList(list: BlockList): RamRecord {
    this.#list = undefined;
    this.#blocks = list.blocks;
    this.#pages = new PageRecordReader(list.blocks);
    return { kind: "blocks", total: list.total, blocks: list.blocks };
  }
}

/** True for the flags of a record of a page. */
function isPage(flags: number): boolean {
  const kind = flags & ~RamFlag.continue;
  return kind === RamFlag.page || kind === RamFlag.zero || kind === RamFlag.xbzrle;
}
