/**
 * RAM into a file in which every page has a fixed place (see stream/mapped_ram.ts).
 *
 *   listBlocks   the block list; between its entries room is left for bitmaps and pages
 *   send         pages go to their places, again each time they were dirty
 *   complete     the bitmaps, without which the file is worth nothing
 *
 * Pages never written by anybody are holes of the file. A page that became zero keeps its old content
 * in the file, and its bit is clear. With multifd several threads write, and with direct-io they bypass
 * the page cache always, otherwise where that is faster; the file is the same in all cases.
 */
import type { OutgoingFile } from "../../channel/file.ts";
import { PAGE_SIZE, type RamBlock } from "../../memory/ram_block.ts";
import { type DirectAccess, PageTransfer, PageTransferError } from "../../native/mapped_ram.ts";
import { PageBitmap } from "../../native/pages.ts";
import { MigrationError } from "../errors.ts";
import type { DirtyRange } from "../ram/dirty_pages.ts";
import { blockListing, type RamListing } from "../ram/sender.ts";
import type { PageTransport, SentPages } from "../ram/transport.ts";
import {
  mappedRamHeaderSize,
  type MappedRamPlace,
  placeMappedBlock,
} from "../stream/mapped_ram.ts";
import type { StreamWriter } from "../stream/stream_writer.ts";
import { pageError } from "./errors.ts";
import { directAccess, moveRange, threadsFor } from "./running.ts";

/** How RAM is written to a file. */
export interface MappedRamOptions {
  readonly writer: StreamWriter;
  readonly file: OutgoingFile;
  /** The number of multifd channels, or 1. */
  readonly channels: number;
  /** Pages bypass the page cache. */
  readonly directIo: boolean;
  /** Zero pages are looked for; otherwise only memory that was never written is left out. */
  readonly detectZero: boolean;
}

/** A block that is saved. */
interface SavedBlock {
  readonly place: MappedRamPlace;
  /** Pages that the file has. */
  readonly stored: PageBitmap;
}

/** Sends pages to their places in a file. */
export class MappedRamTransport implements PageTransport {
  readonly parallel: number;
  readonly #options: MappedRamOptions;
  readonly #resources = new DisposableStack();
  readonly #blocks = new Map<RamBlock, SavedBlock>();
  readonly #direct: DirectAccess | undefined;
  readonly #working = new Set<Promise<unknown>>();

  /** Throws if the file cannot be opened as it has to be for direct-io. */
  constructor(options: MappedRamOptions) {
    const { file, channels, directIo } = options;
    this.#options = options;
    this.parallel = threadsFor(channels);
    this.#direct = directAccess(file, directIo, this.#resources);
  }

  async listBlocks(listings: readonly RamListing[]): Promise<void> {
    const { writer, file } = this.#options;
    writer.ram.beginBlocks(listings.reduce((sum, { block }) => sum + block.usedLength, 0));
    for (const listing of listings) {
      const { block, guestAddress, ignored } = listing;
      const length = block.usedLength;
      const entrySize = 1 + block.name.length + 8 + (guestAddress === undefined ? 0 : 8);
      const headerEnd = writer.offset + entrySize + mappedRamHeaderSize;
      const place = ignored ? undefined : placeMappedBlock(headerEnd, length);
      writer.ram.mappedBlock(blockListing(listing), place);
      if (place === undefined) continue;
      const stored = this.#resources.use(new PageBitmap(length / PAGE_SIZE));
      this.#blocks.set(block, { place, stored });
      await file.write(writer.take());
      file.seek(place.pagesOffset + length);
      writer.seek(file.position);
    }
  }

  async send({ block, dirty, written, first, end }: DirtyRange): Promise<SentPages> {
    const { file, detectZero } = this.#options;
    const saved = this.#blocks.get(block);
    if (saved === undefined) throw new MigrationError(`block '${block.name}' was not listed`);
    const { place, stored } = saved;
    const transfer = new PageTransfer({
      direction: "save",
      memory: block.mapping,
      fd: file.fd,
      direct: this.#direct,
      fileOffset: place.pagesOffset,
      first,
      end,
      selected: dirty,
      stored,
      written,
      detectZero,
    });
    const moving = moveRange(transfer, file.cancelled);
    this.#working.add(moving);
    try {
      await moving;
    } catch (error) {
      throw error instanceof PageTransferError
        ? pageError(error, "write", block.name, file.name, place.pagesOffset)
        : error;
    } finally {
      this.#working.delete(moving);
    }
    const { moved, zero } = transfer;
    return { bytes: moved * PAGE_SIZE, normal: moved, zero };
  }

  /** Places do not depend on an order. */
  synchronise(): Promise<void> {
    return Promise.resolve();
  }

  async complete(): Promise<void> {
    const { writer, file } = this.#options;
    await file.write(writer.take());
    const { position } = file;
    for (const { place, stored } of this.#blocks.values()) {
      file.seek(place.bitmapOffset);
      await file.write(stored.bytes);
    }
    file.seek(position);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#working);
    this.#resources[Symbol.dispose]();
  }
}
