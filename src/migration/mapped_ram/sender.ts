/**
 * RAM into a file in which every page has a fixed place (see stream/mapped_ram.ts).
 *
 *   begin    the block list; between its entries the file is left out where bitmaps and pages go
 *   pass     pages that the guest has dirtied are written at their places again
 *   finish   the rest; then the bitmaps, without which the file is worth nothing
 *
 * Pages never written by anybody are holes of the file. A page that became zero keeps its old content
 * in the file, and its bit is clear. With multifd, several threads write pages; with direct-io as well,
 * they bypass the page cache. The file is the same in all cases.
 */
import type { OutgoingFile } from "../../channel/file.ts";
import { PAGE_SIZE, type RamBlock } from "../../memory/ram_block.ts";
import type { Descriptor, Fd } from "../../native/descriptor.ts";
import { PageTransfer, PageTransferError } from "../../native/mapped_ram.ts";
import { PageBitmap } from "../../native/pages.ts";
import { RAM_SECTION_ID } from "../device_state.ts";
import { emptyRamStatistics, type RamSender, type RamStatistics } from "../ram/sender.ts";
import { dropUnwritten } from "../ram/unwritten.ts";
import {
  mappedRamHeaderSize,
  type MappedRamPlace,
  placeMappedBlock,
} from "../stream/mapped_ram.ts";
import type { StreamWriter } from "../stream/stream_writer.ts";
import { pageError } from "./errors.ts";
import { moveRange } from "./running.ts";

/** A block as the file lists it. */
export interface MappedRamListing {
  readonly block: RamBlock;
  /** Guest physical address, with x-ignore-shared. */
  readonly guestAddress?: number;
  /** Its pages are not saved: whoever opens its backing file finds them. */
  readonly ignored: boolean;
}

/** How RAM is written to a file. */
export interface MappedRamOptions {
  readonly writer: StreamWriter;
  readonly file: OutgoingFile;
  /** All blocks, in the order of the list. */
  readonly listings: readonly MappedRamListing[];
  /** Threads that write pages: the number of multifd channels, or 1. */
  readonly threads: number;
  /** Pages bypass the page cache. */
  readonly directIo: boolean;
  /** Zero pages are looked for; otherwise only memory that was never written is left out. */
  readonly detectZero: boolean;
}

/** A block that is saved. */
class SavedBlock implements Disposable {
  readonly pages: number;
  /** Pages to be written. */
  readonly selected: PageBitmap;
  /** Pages that the file has. */
  readonly stored: PageBitmap;
  readonly transfer: PageTransfer;

  constructor(
    readonly block: RamBlock,
    readonly place: MappedRamPlace,
    fd: Fd,
    detectZero: boolean,
  ) {
    this.pages = block.usedLength / PAGE_SIZE;
    using undo = new DisposableStack();
    this.selected = undo.use(new PageBitmap(this.pages));
    this.stored = undo.use(new PageBitmap(this.pages));
    this.transfer = new PageTransfer({
      direction: "save",
      memory: block.mapping,
      fd,
      fileOffset: place.pagesOffset,
      selected: this.selected,
      stored: this.stored,
      detectZero,
    });
    undo.move();
  }

  [Symbol.dispose](): void {
    this.selected[Symbol.dispose]();
    this.stored[Symbol.dispose]();
  }
}

/** Saves RAM to a file. */
export class MappedRamSender implements RamSender {
  readonly #options: MappedRamOptions;
  readonly #statistics = emptyRamStatistics();
  readonly #resources = new DisposableStack();
  #blocks: readonly SavedBlock[] = [];
  /** The transfer under way, which uses memory of ours. */
  #working: Promise<unknown> = Promise.resolve();

  constructor(options: MappedRamOptions) {
    this.#options = options;
  }

  get statistics(): RamStatistics {
    const statistics = this.#statistics;
    const sum = (of: (block: SavedBlock) => number) =>
      this.#blocks.reduce((total, block) => total + of(block), 0);
    statistics.normal = sum(({ transfer }) => transfer.moved);
    return statistics;
  }

  async begin(): Promise<void> {
    const { writer, file, listings, directIo } = this.#options;
    const direct: Descriptor | undefined = directIo
      ? this.#resources.use(file.openDirect())
      : undefined;
    const blocks: SavedBlock[] = [];
    this.#blocks = blocks;
    writer.beginRam("start", RAM_SECTION_ID);
    writer.ram.beginBlocks(listings.reduce((sum, { block }) => sum + block.usedLength, 0));
    for (const { block, guestAddress, ignored } of listings) {
      const { name, usedLength: length } = block;
      const headerEnd = writer.offset + 1 + name.length + 8 + (guestAddress === undefined ? 0 : 8) +
        mappedRamHeaderSize;
      const place = ignored ? undefined : placeMappedBlock(headerEnd, length);
      writer.ram.mappedBlock({ name, length, guestAddress }, place);
      if (place === undefined) continue;
      blocks.push(this.#resources.use(
        new SavedBlock(block, place, direct?.fd ?? file.fd, this.#options.detectZero),
      ));
      await file.write(writer.take());
      file.seek(place.pagesOffset + length);
      writer.seek(file.position);
    }
    writer.endRam(RAM_SECTION_ID);
    for (const { selected, block, pages } of blocks) {
      selected.fill(true);
      await dropUnwritten(block, selected, 0, pages);
      this.#statistics.total += block.usedLength;
    }
  }

  pass(): Promise<boolean> {
    return Promise.resolve(true);
  }

  async finish(): Promise<void> {
    const { writer, file } = this.#options;
    for (const block of this.#blocks) await this.#write(block, 0, block.pages);
    await file.write(writer.take());
    const { position } = file;
    for (const { place, stored } of this.#blocks) {
      file.seek(place.bitmapOffset);
      await file.write(stored.bytes);
    }
    file.seek(position);
    writer.beginRam("end", RAM_SECTION_ID);
    writer.endRam(RAM_SECTION_ID);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { transfer } of this.#blocks) transfer.cancel();
    await this.#working;
    this.#resources[Symbol.dispose]();
  }

  /** Writes the selected pages of a range. */
  async #write({ block, place, transfer }: SavedBlock, first: number, end: number): Promise<void> {
    const { file, threads } = this.#options;
    const running = moveRange(transfer, { threads, cancelled: file.cancelled, first, end });
    this.#working = running.catch(() => {});
    try {
      await running;
    } catch (error) {
      throw error instanceof PageTransferError
        ? pageError(error, "write", block.name, file.name, place.pagesOffset)
        : error;
    }
  }
}
