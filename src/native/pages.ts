/** Page bitmaps in the C library's reach, and which pages of memory are zero (ffi/pages.c). */
import { native } from "./library.ts";
import type { Fd } from "./descriptor.ts";
import { unwrap } from "./errors.ts";
import { holdAll } from "./handle.ts";
import { Mapping } from "./mapping.ts";
import { threads } from "./thread_pool.ts";

/** Bytes of a page. */
const PAGE_SIZE = 4096;

/** Consecutive pages. */
export interface PageRun {
  readonly first: number;
  readonly count: number;
}

/**
 * One bit for each page of a block: bit i % 64 of the little-endian 64-bit word i / 64, as in KVM's
 * dirty log and in mapped-ram files. It lies in memory of its own, so that threads of the C library
 * can use it; ranges are [first, end).
 */
export class PageBitmap implements Disposable {
  readonly pages: number;
  readonly #mapping: Mapping;
  readonly #halfWords: Int32Array<ArrayBuffer>;

  /** A bitmap for `pages` pages, all clear. */
  constructor(pages: number) {
    this.pages = pages;
    const bytes = Math.max(Math.ceil(pages / 64) * 8, 8);
    this.#mapping = new Mapping(
      { kind: "anonymous" },
      Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE,
      "a page bitmap",
    );
    this.bytes = this.#mapping.bytes.subarray(0, bytes);
    this.words = new BigUint64Array(this.bytes.buffer, 0, bytes / 8);
    this.#halfWords = new Int32Array(this.bytes.buffer, 0, bytes / 4);
  }

  /** The words' bytes: not a copy, whole words. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: BigUint64Array<ArrayBuffer>;

  /** Host address of the first word. */
  get address(): bigint {
    return this.#mapping.address;
  }

  /** Keeps it from being freed while a call on another thread uses it. */
  hold(): Disposable {
    return this.#mapping.hold();
  }

  has(page: number): boolean {
    return ((this.bytes[page >>> 3] ?? 0) >>> (page & 7) & 1) === 1;
  }

  set(page: number): void {
    if (page < this.pages) this.bytes[page >>> 3]! |= 1 << (page & 7);
  }

  /** Sets pages [first, end) while other threads do the same or take them. */
  setAtomically(first: number, end: number): void {
    for (let page = first; page < Math.min(end, this.pages); page++) {
      Atomics.or(this.#halfWords, page >>> 5, 1 << (page & 31));
    }
  }

  /** Moves all pages that are set in `source`, also those that other threads set just now, to this. */
  takeFrom(source: PageBitmap): void {
    if (source.pages !== this.pages) throw new RangeError("bitmaps of different blocks");
    native.molt_bitmap_take(source.address, this.address, 0n, BigInt(this.pages));
  }

  /** How many pages of the range are set. */
  count(first = 0, end = this.pages): number {
    return Number(
      native.molt_bitmap_count(this.address, ...this.#range(first, end)),
    );
  }

  /** The first page of the range that is set, or clear; `end` if there is none. */
  next(first: number, end = this.pages, set = true): number {
    return Number(
      native.molt_bitmap_next(this.address, ...this.#range(first, end), set ? 1 : 0),
    );
  }

  /** Where the range ends that begins at `first` and has `count` set pages; `end` if it has fewer. */
  advance(first: number, end: number, count: number): number {
    return Number(
      native.molt_bitmap_advance(this.address, ...this.#range(first, end), BigInt(count)),
    );
  }

  /** Sets or clears the range. */
  fill(set: boolean, first = 0, end = this.pages): void {
    native.molt_bitmap_fill(this.address, ...this.#range(first, end), set ? 1 : 0);
  }

  /** The first `room` runs of set pages in the range, each at most `longest` pages. */
  runs(first: number, end: number, room: number, longest = 2 ** 32): PageRun[] {
    const pairs = new BigUint64Array(2 * room);
    const count = native.molt_bitmap_runs(
      this.address,
      ...this.#range(first, end),
      BigInt(longest),
      new Uint8Array(pairs.buffer),
      room,
    );
    return Array.from({ length: count }, (_, i) => ({
      first: Number(pairs[2 * i]),
      count: Number(pairs[2 * i + 1]),
    }));
  }

  /** Clears, off the isolate, the pages of the range that are zero in `memory`. */
  async dropZeroPages(memory: Mapping, first: number, end: number): Promise<void> {
    using _ = holdAll(this, memory);
    await threads.molt_drop_zero_pages(memory.address, this.address, ...this.#range(first, end));
  }

  /**
   * Clears, off the isolate, the pages of the range that lie in holes of the file of which the memory
   * is a shared mapping; page 0 is at `offset` of the file. Resolves with the first page from `end` on
   * that may lie in a hole: those between do not.
   */
  async dropFileHoles(fd: Fd, offset: number, first: number, end: number): Promise<number> {
    using _ = this.hold();
    return unwrap(
      await threads.molt_drop_file_holes(
        fd,
        BigInt(offset),
        this.address,
        ...this.#range(first, end),
      ),
      () => `Could not look for holes in descriptor ${fd}`,
    );
  }

  /** Clears, off the isolate, the pages of private anonymous memory that nobody touched yet. */
  async dropUntouched(memory: Mapping, first: number, end: number): Promise<void> {
    using _ = holdAll(this, memory);
    unwrap(
      await threads.molt_drop_untouched(memory.address, this.address, ...this.#range(first, end)),
      "Could not look for untouched memory",
    );
  }

  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }

  #range(first: number, end: number): [bigint, bigint] {
    if (!(first >= 0 && first <= end && end <= this.pages)) {
      throw new RangeError(`pages ${first} to ${end} of ${this.pages}`);
    }
    return [BigInt(first), BigInt(end)];
  }
}
