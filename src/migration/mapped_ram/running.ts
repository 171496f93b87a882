/** Transfers between memory and a file: how many threads, and how they end when somebody cancels. */
import type { PageTransfer } from "../../native/mapped_ram.ts";
import { MigrationCancelled } from "../errors.ts";

/** More threads than this gain nothing on one file, and would keep the isolate's own from running. */
const MOST_THREADS = 16;

/** Threads for a number of multifd channels. */
export function threadsFor(channels: number): number {
  return Math.min(channels, MOST_THREADS);
}

/** How a range is moved. */
export interface RangeOptions {
  readonly threads: number;
  readonly cancelled: AbortSignal;
  readonly first: number;
  readonly end: number;
}

/**
 * Runs `transfer` over a range. Throws PageTransferError, or MigrationCancelled when `cancelled` was
 * aborted. No thread works any more when it settles.
 */
export async function moveRange(transfer: PageTransfer, options: RangeOptions): Promise<void> {
  const { threads, cancelled, first, end } = options;
  const stop = () => transfer.cancel();
  if (cancelled.aborted) throw new MigrationCancelled();
  cancelled.addEventListener("abort", stop);
  try {
    if (!await transfer.run(threads, first, end)) throw new MigrationCancelled();
  } finally {
    cancelled.removeEventListener("abort", stop);
  }
}
