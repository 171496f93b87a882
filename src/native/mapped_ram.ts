/** Pages between guest memory and their fixed places in a file, by threads (ffi/mapped_ram.c). */
import { layouts } from "./layouts.ts";
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

const offsets = layouts.molt_page_transfer;

/** Pages that a thread takes at once. Larger writes let the host's page cache use larger folios. */
const CHUNK = 1024;

/** Pages of a run that is written past the page cache where that is not asked for: 256 KiB. */
const LONG_RUN = 64;

/** One block's transfer. It may be run several times, for one range after another. */
export class PageTransfer {
  readonly #options: PageTransferOptions;
  readonly #bytes = new Uint8Array(offsets.sizeof);
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
    view.setBigInt64(offsets.file_offset, BigInt(options.fileOffset), true);
    view.setBigUint64(offsets.selected, selected.address, true);
    view.setBigUint64(offsets.stored, stored.address, true);
    view.setBigUint64(offsets.written, options.written?.address ?? 0n, true);
    view.setBigUint64(offsets.chunk, BigInt(CHUNK), true);
    view.setInt32(offsets.fd, options.fd, true);
    view.setInt32(offsets.direction, options.direction === "save" ? 0 : 1, true);
    view.setInt32(offsets.direct_fd, options.direct?.fd ?? -1, true);
    view.setInt32(offsets.direct_from, options.direct?.always ? 1 : LONG_RUN, true);
    view.setInt32(offsets.detect_zero, options.detectZero ? 1 : 0, true);
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
    const page = Number(this.#view.getBigUint64(offsets.error_page, true));
    throw new PageTransferError(this.#options.direction, page, -result);
  }

  /** Makes the threads stop after what they are writing or reading now. */
  cancel(): void {
    this.#view.setInt32(offsets.cancelled, 1, true);
  }
}
