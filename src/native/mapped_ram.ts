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
  /** The range [first, end); `first` is a multiple of 64. */
  readonly first: number;
  readonly end: number;
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

/** Pages of a run that is written past the page cache where that is not asked for: 256 KiB. */
const LONG_RUN = 64;

/** The transfer of a range. */
export class PageTransfer {
  readonly #options: PageTransferOptions;
  readonly #bytes = new Uint8Array(offsets.sizeof);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(options: PageTransferOptions) {
    this.#options = options;
    const { memory, selected, stored, first, end } = options;
    if (first % 64 !== 0 || first > end || end > stored.pages) {
      throw new RangeError(`pages ${first} to ${end} of ${stored.pages}`);
    }
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
    view.setBigUint64(offsets.first, BigInt(first), true);
    view.setBigUint64(offsets.end, BigInt(end), true);
    view.setInt32(offsets.fd, options.fd, true);
    view.setInt32(offsets.direction, options.direction === "save" ? 0 : 1, true);
    view.setInt32(offsets.direct_fd, options.direct?.fd ?? -1, true);
    view.setInt32(offsets.direct_from, options.direct?.always ? 1 : LONG_RUN, true);
    view.setInt32(offsets.detect_zero, options.detectZero ? 1 : 0, true);
  }

  /** Pages written or read. */
  get moved(): number {
    return Number(this.#view.getBigUint64(offsets.moved, true));
  }

  /** Selected pages that were zero, when saving. */
  get zero(): number {
    return Number(this.#view.getBigUint64(offsets.zero, true));
  }

  /**
   * Moves the range, on a thread. False if it was cancelled. Memory and bitmaps stay until it has ended, and
   * the descriptor must.
   */
  async run(): Promise<boolean> {
    const { memory, selected, stored, written } = this.#options;
    using _ = holdAll(memory, selected, stored, ...(written ? [written] : []));
    const result = await threads.molt_pages_transfer(this.#bytes);
    if (result === 0) return true;
    if (result === -Errno.ECANCELED) return false;
    const page = Number(this.#view.getBigUint64(offsets.error_page, true));
    throw new PageTransferError(this.#options.direction, page, -result);
  }

  /** Makes the thread stop after what it is writing or reading now. */
  cancel(): void {
    this.#view.setInt32(offsets.cancelled, 1, true);
  }
}
