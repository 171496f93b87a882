/**
 * The body of the `ram` section: records up to one that ends it. Each begins with a u64 that holds an
 * address or size in its high bits and flags in the low 12. START has a block list; PART and END have
 * pages. A page's content stays in the reader's buffer; a record says where.
 *
 * State between records, and from one section to the next of a stream: the blocks of the list, the block
 * of the latest page record, and how much of a block list is still to come.
 */
import type { StateReader } from "../../vmstate/vmstate.ts";
import { blockMaximum, pageSize, RamFlag } from "./constants.ts";
import { StreamError } from "./errors.ts";
import { type MappedRamPlace, readMappedRamHeader } from "./mapped_ram.ts";

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
  #blocks = new Map<string, RamBlockEntry>();
  #current: RamBlockEntry | undefined;
  #list: BlockList | undefined;

  constructor(format: RamFormat) {
    this.#format = format;
  }

  /** Whether records of pages may come now: there is a block list, and it is not of a mapped-ram file. */
  get expectsPages(): boolean {
    return this.#blocks.size > 0 && this.#list === undefined && !this.#format.mappedRam;
  }

  /** The name of the block that the latest record of a page was of. */
  get currentBlock(): string | undefined {
    return this.#current?.name;
  }

  set currentBlock(name: string | undefined) {
    this.#current = name === undefined ? undefined : this.#blocks.get(name);
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
    switch (flags & ~RamFlag.continue) {
      case RamFlag.page: {
        const block = this.#page(reader, flags, high, address, start);
        const data = reader.skip(pageSize);
        this.#current = block;
        return { kind: "page", block, offset: address, data };
      }
      case RamFlag.zero: {
        const block = this.#page(reader, flags, high, address, start);
        const fill = reader.u8();
        if (fill !== 0) throw new StreamError(`Found a zero page with value ${fill}`, start);
        this.#current = block;
        return { kind: "zero page", block, offset: address };
      }
      case RamFlag.xbzrle: {
        const block = this.#page(reader, flags, high, address, start);
        const encoding = reader.u8();
        if (encoding !== 1) {
          throw new StreamError(
            `Failed to load XBZRLE page - wrong compression! (${encoding})`,
            start,
          );
        }
        const size = reader.u16();
        if (size > pageSize) {
          throw new StreamError(`Failed to load XBZRLE page - len overflow! (${size})`, start);
        }
        const data = reader.skip(size);
        this.#current = block;
        return { kind: "xbzrle page", block, offset: address, data, size };
      }
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

  /** Reads the rest of a page's header and returns its block. */
  #page(
    reader: StateReader,
    flags: number,
    high: number,
    address: number,
    start: number,
  ): RamBlockEntry {
    if (this.#format.mappedRam) throw this.#unexpected(flags & ~RamFlag.continue, start);
    let block = this.#current;
    if ((flags & RamFlag.continue) === 0) {
      const name = reader.string8();
      block = this.#blocks.get(name);
      if (block === undefined) throw new StreamError(`Can't find block ${name}`, start);
    }
    if (block === undefined) throw new StreamError("Ack, bad migration stream!", start);
    if (high >= 0x20_0000 || address >= block.length) {
      const text = `${high.toString(16)}${(address % 0x1_0000_0000).toString(16).padStart(8, "0")}`;
      throw new StreamError(
        `Illegal RAM offset ${high === 0 ? address.toString(16) : text} in block ${block.name}`,
        start,
      );
    }
    return block;
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
    this.#blocks = new Map(list.blocks.map((block) => [block.name, block]));
    return { kind: "blocks", total: list.total, blocks: list.blocks };
  }
}
