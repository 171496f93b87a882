/** Pages between guest memory and their fixed places in a file, by threads (ffi/mapped_ram.c). */
import type { Fd } from "./descriptor.ts";
import { Errno, SystemError } from "./errors.ts";
import { holdAll } from "./handle.ts";
import type { Mapping } from "./mapping.ts";
import type { PageBitmap } from "./pages.ts";
import { threads } from "./thread_pool.ts";

/** `save`: memory to file; `load`: file to memory. */
export type PageTransferDirection = "save" | "load";

/** A descriptor that bypasses the page cache, and when it is used. */
export interface DirectAccess {
  readonly fd: Fd;
  /**
   * Set: for everything. Otherwise where it is faster: to write long runs, and to read what the page
   * cache does not have.
   */
  readonly always: boolean;
}

/** A block and its place in a file. */
export interface PageTransferOptions {
  readonly direction: PageTransferDirection;
  readonly memory: Mapping;
  readonly fd: Fd;
  /** The same file with O_DIRECT. */
  readonly direct?: DirectAccess | undefined;
  /** File offset of the block's page 0. */
  readonly fileOffset: number;
  /**
   * Save: the pages to write. Load: the pages whose memory may hold something, which is cleared
   * where the file has no page.
   */
  readonly selected: PageBitmap;
  /** Which pages the file has. Save records it for the selected pages, load follows it. */
  readonly stored: PageBitmap;
  /** Save: pages that are not set here are zero, and are not looked at. */
  readonly written?: PageBitmap | undefined;
  /** Save: zero pages are noted as not stored instead of being written. */
  readonly detectZero: boolean;
}

/** A page could not be written or read. */
export class PageTransferError extends SystemError {
  /** The page's number in its block. */
  readonly page: number;

  constructor(direction: PageTransferDirection, page: number, errno: number) {
    super(`Could not ${direction === "save" ? "write" : "read"} page ${page}`, errno);
    this.page = page;
  }
}

/** Layout of struct molt_page_transfer (ffi/mapped_ram.h). */
const SIZE = 120;
const offsets = {
  memory: 0,
  fileOffset: 8,
  selected: 16,
  stored: 24,
  written: 32,
  end: 40,
  chunk: 48,
  fd: 56,
  direction: 60,
  directFd: 64,
  directFrom: 68,
  detectZero: 72,
  cancelled: 76,
  next: 80,
  moved: 88,
  zero: 96,
  errorPage: 112,
} as const;

/** Pages that a thread takes at once. Larger writes let the host's page cache use larger folios. */
const CHUNK = 1024;

/** Pages of a run that is written past the page cache where that is not asked for: 256 KiB. */
const LONG_RUN = 64;

/** One block's transfer. It may be run several times, for one range after another. */
export class PageTransfer {
  readonly #options: PageTransferOptions;
  readonly #bytes = new Uint8Array(SIZE);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(options: PageTransferOptions) {
    this.#options = options;
    const { memory, selected, stored } = options;
    const pages = Math.min(selected.pages, options.written?.pages ?? selected.pages);
    if (stored.pages > memory.size / 4096 || stored.pages > pages) {
      throw new RangeError("the page bitmaps do not fit the memory");
    }
    const view = this.#view;
    view.setBigUint64(offsets.memory, memory.address, true);
    view.setBigInt64(offsets.fileOffset, BigInt(options.fileOffset), true);
    view.setBigUint64(offsets.selected, selected.address, true);
    view.setBigUint64(offsets.stored, stored.address, true);
    view.setBigUint64(offsets.written, options.written?.address ?? 0n, true);
    view.setBigUint64(offsets.chunk, BigInt(CHUNK), true);
    view.setInt32(offsets.fd, options.fd, true);
    view.setInt32(offsets.direction, options.direction === "save" ? 0 : 1, true);
    view.setInt32(offsets.directFd, options.direct?.fd ?? -1, true);
    view.setInt32(offsets.directFrom, options.direct?.always ? 1 : LONG_RUN, true);
    view.setInt32(offsets.detectZero, options.detectZero ? 1 : 0, true);
  }

  /** Pages written or read so far, in all runs. Grows while threads work. */
  get moved(): number {
    return Number(this.#view.getBigUint64(offsets.moved, true));
  }

  /** Selected pages that were zero so far, when saving. */
  get zero(): number {
    return Number(this.#view.getBigUint64(offsets.zero, true));
  }

  /**
   * Moves the pages in [first, end), `first` being a multiple of 64, by `count` threads. False if it
   * was cancelled. Memory and bitmaps stay until it has ended, and the descriptor must.
   */
  async run(count: number, first = 0, end = this.#options.stored.pages): Promise<boolean> {
    if (first % 64 !== 0 || first > end || end > this.#options.stored.pages) {
      throw new RangeError(`pages ${first} to ${end} of ${this.#options.stored.pages}`);
    }
    const { memory, selected, stored, written } = this.#options;
    using _ = holdAll(memory, selected, stored, ...(written ? [written] : []));
    this.#view.setBigUint64(offsets.next, BigInt(first), true);
    this.#view.setBigUint64(offsets.end, BigInt(end), true);
    const result = await threads.molt_pages_transfer(this.#bytes, count);
    if (result === 0) return true;
    if (result === -Errno.ECANCELED) return false;
    const page = Number(this.#view.getBigUint64(offsets.errorPage, true));
    throw new PageTransferError(this.#options.direction, page, -result);
  }

  /** Makes the threads stop after what they are writing or reading now. */
  cancel(): void {
    this.#view.setInt32(offsets.cancelled, 1, true);
  }
}
