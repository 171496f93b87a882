/** A transfer that ends soon when its file's channel is cancelled. */
import type { PageTransfer } from "../../native/mapped_ram.ts";
import { MigrationCancelled } from "../errors.ts";

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
