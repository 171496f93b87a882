/**
 * Which pages have still to be sent. At first all of them; later those that the guest's processors or
 * its devices have written since they were read.
 *
 *   start                    everything is dirty, and writes are recorded from now on
 *   beginSweep, then         ranges in the order of addresses; prepare makes sure that a write after
 *   { next, prepare, done }  it counts again
 *   sync                     writes recorded meanwhile make pages dirty
 *   dispose                  recording ends, whatever happened
 */
import type { DirtyTracker } from "../../kvm/dirty_tracker.ts";
import type { GuestMemory } from "../../memory/guest_memory.ts";
import { PAGE_SIZE, type RamBlock } from "../../memory/ram_block.ts";
import { PageBitmap } from "../../native/pages.ts";
import { dropUnwritten } from "./unwritten.ts";

/** Ranges end at multiples of this, so that no two share a word of a bitmap. */
const WORD = 64;

/** A block whose pages are sent. */
export interface DirtyBlock {
  readonly block: RamBlock;
  /** Pages in use. */
  readonly pages: number;
  /** The pages to be sent. */
  readonly dirty: PageBitmap;
}

/** Pages [first, end) of a block, of which `count` are dirty. */
export interface DirtyRange extends DirtyBlock {
  readonly first: number;
  readonly end: number;
  readonly count: number;
  /**
   * Set: pages that may have content; the others were never written, and reading them would allocate
   * them. Valid once the range was prepared. `undefined`: all may.
   */
  readonly written: PageBitmap | undefined;
}

/** What records writes, and where. */
export interface WriteSources {
  readonly tracker: DirtyTracker;
  readonly memory: GuestMemory;
}

interface TrackedBlock extends DirtyBlock {
  /** Pages that devices wrote. */
  readonly device: PageBitmap;
  /** See {@linkcode DirtyRange.written}; during the first sweep only. */
  readonly written: PageBitmap;
}

/** The dirty pages of all blocks that are sent. */
export class DirtyPages implements Disposable {
  readonly #resources = new DisposableStack();
  readonly #blocks: readonly TrackedBlock[];
  readonly #sources: WriteSources;
  /** Pages of each block that are known to be written: what was written stays so. */
  readonly #knownWritten = new Map<RamBlock, { readonly first: number; readonly end: number }>();
  #recording = false;
  #firstSweep = true;
  #remaining = 0;
  /** Where the sweep has got to. */
  #block = 0;
  #page = 0;

  constructor(blocks: readonly RamBlock[], sources: WriteSources) {
    using undo = this.#resources;
    this.#blocks = blocks.map((block) => {
      const bitmap = () => undo.use(new PageBitmap(block.maximumLength / PAGE_SIZE));
      return {
        block,
        pages: block.usedLength / PAGE_SIZE,
        dirty: bitmap(),
        device: bitmap(),
        written: bitmap(),
      };
    });
    this.#sources = sources;
    this.#resources = undo.move();
  }

  get blocks(): readonly DirtyBlock[] {
    return this.#blocks;
  }

  /** How many pages are dirty. */
  get remaining(): number {
    return this.#remaining;
  }

  /** Makes every page dirty and begins to record writes. */
  start(): void {
    const { tracker, memory } = this.#sources;
    this.#recording = true;
    memory.recordDeviceWrites(new Map(this.#blocks.map(({ block, device }) => [block, device])));
    tracker.start();
    for (const { dirty, written, pages } of this.#blocks) {
      dirty.fill(true, 0, pages);
      written.fill(true, 0, pages);
      this.#remaining += pages;
    }
  }

  /** Makes pages dirty that were written since. No range may be in use. Returns how many they are. */
  async sync(): Promise<number> {
    for (const { dirty, device } of this.#blocks) dirty.takeFrom(device);
    await this.#sources.tracker.collect(
      new Map(this.#blocks.map(({ block, dirty }) => [block, dirty])),
    );
    const before = this.#remaining;
    this.#remaining = this.#blocks.reduce(
      (sum, { dirty, pages }) => sum + dirty.count(0, pages),
      0,
    );
    return this.#remaining - before;
  }

  /** Goes on with a sweep that was left before its end, or begins the next. No range may be in use. */
  beginSweep(): void {
    if (this.#block < this.#blocks.length) return;
    this.#block = 0;
    this.#page = 0;
    this.#firstSweep = false;
  }

  /** The next range of the sweep, with about `count` dirty pages; `undefined` at its end. */
  next(count: number): DirtyRange | undefined {
    for (; this.#block < this.#blocks.length; this.#block++, this.#page = 0) {
      const block = this.#blocks[this.#block]!;
      const { dirty, pages } = block;
      const first = dirty.next(this.#page, pages);
      if (first === pages) continue;
      const start = first - first % WORD;
      const exact = dirty.advance(start, pages, count);
      const end = Math.min(Math.ceil(exact / WORD) * WORD, pages);
      this.#page = end;
      return {
        ...block,
        first: start,
        end,
        count: dirty.count(start, end),
        written: this.#firstSweep ? block.written : undefined,
      };
    }
    return undefined;
  }

  /** To be done before the pages of a range are read. */
  async prepare({ block, dirty, first, end, written }: DirtyRange): Promise<void> {
    await this.#sources.tracker.protect(block, dirty, first, end);
    // Only now: a page that is written after this look counts again.
    if (written === undefined) return;
    const known = this.#knownWritten.get(block);
    if (known !== undefined && known.first <= first && end <= known.end) return;
    const until = await dropUnwritten(block, written, first, end);
    this.#knownWritten.set(block, { first: end, end: until });
  }

  /** The pages of a range were read. */
  done({ dirty, first, end, count }: DirtyRange): void {
    dirty.fill(false, first, end);
    this.#remaining -= count;
  }

  [Symbol.dispose](): void {
    if (this.#recording) {
      this.#recording = false;
      this.#sources.memory.recordDeviceWrites(undefined);
      this.#sources.tracker.stop();
    }
    this.#resources[Symbol.dispose]();
  }
}
