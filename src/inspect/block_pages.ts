/** What a file says of a block's pages, and where their content lies in it. */
import { PAGE_SIZE } from "../memory/ram_block.ts";

/**
 * `stored`: the file has the content. `zero`: the file says that it is zero. `absent`: the file says
 * nothing, which for a fresh destination means zero.
 */
export type PageKind = "stored" | "zero" | "absent";

/** Consecutive pages of one kind. */
export interface KindRun {
  readonly first: number;
  readonly count: number;
  readonly kind: PageKind;
}

/** Reads from the file: fills `buffer` from `offset` on. Throws if the file ends before. */
export type ReadFully = (buffer: Uint8Array<ArrayBuffer>, offset: number) => void;

/** Pages whose places are kept together. Blocks are sparse: only parts of which something is said exist. */
const PART = 4096;

/** Values of a place that are not file offsets. */
const UNKNOWN = 0;
const ZERO = -1;
/** The content was put together from several records. */
const COMPOSED = -2;

/** A block's pages. What is said later of a page replaces what was said before. */
export class BlockPages {
  readonly pages: number;
  readonly #otherwise: "zero" | "absent";
  readonly #parts = new Map<number, Float64Array>();
  readonly #composed = new Map<number, Uint8Array<ArrayBuffer>>();

  /** A block of `length` bytes, whose pages are of the kind `otherwise` until more is known. */
  constructor(length: number, otherwise: "zero" | "absent" = "absent") {
    this.pages = length / PAGE_SIZE;
    this.#otherwise = otherwise;
  }

  /** The page's content lies at `offset` of the file, which is not 0: a header comes first. */
  store(page: number, offset: number): void {
    this.#place(page, offset);
  }

  zero(page: number): void {
    this.#place(page, ZERO);
  }

  /** The page's content is `content`. */
  compose(page: number, content: Uint8Array<ArrayBuffer>): void {
    this.#place(page, COMPOSED);
    this.#composed.set(page, content);
  }

  kindOf(page: number): PageKind {
    return this.#kind(this.#placeOf(page));
  }

  /** How many pages there are of each kind. */
  counts(): Record<PageKind, number> {
    const counts = { stored: 0, zero: 0, absent: 0 };
    let known = 0;
    for (const part of this.#parts.values()) {
      for (const place of part) {
        if (place === UNKNOWN) continue;
        counts[this.#kind(place)]++;
        known++;
      }
    }
    counts[this.#otherwise] += this.pages - known;
    return counts;
  }

  /** All pages in order, as runs that are as long as possible. */
  *runs(): Generator<KindRun> {
    let run: { first: number; count: number; kind: PageKind } | undefined;
    for (const { first, count, kind } of this.#pieces()) {
      if (run?.kind === kind) {
        run.count += count;
      } else {
        if (run) yield run;
        run = { first, count, kind };
      }
    }
    if (run) yield run;
  }

  /** Reads the content of pages from `first` on: as many as `buffer` holds. */
  read(first: number, buffer: Uint8Array<ArrayBuffer>, readFully: ReadFully): void {
    const count = buffer.length / PAGE_SIZE;
    for (let done = 0; done < count;) {
      const offset = this.#placeOf(first + done);
      let together = 1;
      while (
        offset > 0 && done + together < count &&
        this.#placeOf(first + done + together) === offset + together * PAGE_SIZE
      ) together++;
      const target = buffer.subarray(done * PAGE_SIZE, (done + together) * PAGE_SIZE);
      const composed = offset === COMPOSED ? this.#composed.get(first + done) : undefined;
      if (composed !== undefined) target.set(composed);
      else if (offset > 0) readFully(target, offset);
      else target.fill(0);
      done += together;
    }
  }

  /** Runs that end at the limits of parts at the latest. */
  *#pieces(): Generator<KindRun> {
    const limit = Math.ceil(this.pages / PART);
    const indexes = [...this.#parts.keys()].sort((a, b) => a - b);
    let next = 0;
    for (const index of [...indexes, limit]) {
      const until = Math.min(index * PART, this.pages);
      if (until > next) yield { first: next, count: until - next, kind: this.#otherwise };
      const part = this.#parts.get(index);
      if (part === undefined) break;
      next = Math.min(until + PART, this.pages);
      yield* this.#runsOf(part, until, next - until);
    }
  }

  #place(page: number, place: number): void {
    const index = Math.floor(page / PART);
    let part = this.#parts.get(index);
    if (part === undefined) {
      part = new Float64Array(PART);
      this.#parts.set(index, part);
    }
    part[page % PART] = place;
  }

  *#runsOf(part: Float64Array, first: number, count: number): Generator<KindRun> {
    let start = 0;
    let kind = this.#kind(part[0] ?? UNKNOWN);
    for (let i = 1; i < count; i++) {
      const here = this.#kind(part[i] ?? UNKNOWN);
      if (here === kind) continue;
      yield { first: first + start, count: i - start, kind };
      start = i;
      kind = here;
    }
    yield { first: first + start, count: count - start, kind };
  }

  #placeOf(page: number): number {
    return this.#parts.get(Math.floor(page / PART))?.[page % PART] ?? UNKNOWN;
  }

  #kind(place: number): PageKind {
    return place === UNKNOWN ? this.#otherwise : place === ZERO ? "zero" : "stored";
  }
}
