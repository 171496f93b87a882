/** Writing the records of the `ram` section. Page contents can be left to the caller. */
import type { StateWriter } from "../../vmstate/vmstate.ts";
import { pageSize, RamFlag } from "./constants.ts";
import { type MappedRamPlace, writeMappedRamHeader } from "./mapped_ram.ts";

/** A block as the list names it. */
export interface RamBlockListing {
  readonly name: string;
  /** Bytes in use, whole pages. */
  readonly length: number;
  /** Host page size, to be given with postcopy if it is not 4096. */
  readonly hostPageSize?: number | undefined;
  /** Guest physical address, to be given with x-ignore-shared. */
  readonly guestAddress?: number | undefined;
}

/** Writes records into a buffer. */
export class RamRecordWriter {
  readonly #writer: StateWriter;
  #current: string | undefined;

  constructor(writer: StateWriter) {
    this.#writer = writer;
  }

  /** A block list without mapped-ram. */
  blocks(blocks: readonly RamBlockListing[]): void {
    this.beginBlocks(blocks.reduce((total, block) => total + block.length, 0));
    for (const block of blocks) this.block(block);
  }

  /** The beginning of a block list whose lengths add up to `total`. */
  beginBlocks(total: number): void {
    this.#writer.u64Number(total + RamFlag.memSize);
  }

  /** An entry of a block list. */
  block(block: RamBlockListing): void {
    this.#writer.string8(block.name);
    this.#writer.u64Number(block.length);
    if (block.hostPageSize !== undefined) this.#writer.u64Number(block.hostPageSize);
    if (block.guestAddress !== undefined) this.#writer.u64Number(block.guestAddress);
  }

  /**
   * An entry with mapped-ram. The bitmap goes to its place later; what is written next belongs behind
   * the block's pages. `place` is undefined for a block that is not saved.
   */
  mappedBlock(block: RamBlockListing, place: MappedRamPlace | undefined): void {
    this.block(block);
    writeMappedRamHeader(this.#writer, place);
  }

  zeroPage(block: string, offset: number): void {
    this.#header(block, offset, RamFlag.zero);
    this.#writer.u8(0);
  }

  /** The header of a page, whose 4096 bytes have to follow. */
  pageHeader(block: string, offset: number): void {
    this.#header(block, offset, RamFlag.page);
  }

  page(block: string, offset: number, content: Uint8Array): void {
    if (content.length !== pageSize) throw new RangeError(`a page of ${content.length} bytes`);
    this.pageHeader(block, offset);
    this.#writer.raw(content);
  }

  xbzrlePage(block: string, offset: number, encoded: Uint8Array): void {
    this.#header(block, offset, RamFlag.xbzrle);
    this.#writer.u8(1);
    this.#writer.u16(encoded.length);
    this.#writer.raw(encoded);
  }

  multifdFlush(): void {
    this.#writer.u64Number(RamFlag.multifdFlush);
  }

  /** Ends the section's body. */
  end(): void {
    this.#writer.u64Number(RamFlag.eos);
  }

  /** Makes the next page record name its block, as QEMU does where postcopy begins. */
  forgetBlock(): void {
    this.#current = undefined;
  }

  #header(block: string, offset: number, flag: number): void {
    if (block === this.#current) {
      this.#writer.u64Number(offset + flag + RamFlag.continue);
      return;
    }
    this.#writer.u64Number(offset + flag);
    this.#writer.string8(block);
    this.#current = block;
  }
}
