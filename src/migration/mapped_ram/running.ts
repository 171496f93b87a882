/**
 * Transfers between memory and a file. Saving and loading go the same way: ranges of a block, one thread for
 * each, as many at a time as there are multifd channels (ram/parallel.ts).
 */
import type { Descriptor } from "../../native/descriptor.ts";
import type { DirectAccess, PageTransfer } from "../../native/mapped_ram.ts";
import { MigrationCancelled } from "../errors.ts";

/** More threads than this gain nothing on one file, and would keep the isolate's own from running. */
const MOST_THREADS = 16;

/** How many ranges are moved at a time for a number of multifd channels. */
export function threadsFor(channels: number): number {
  return Math.min(channels, MOST_THREADS);
}

/** What a file needs to offer for {@linkcode directAccess}. */
interface DirectlyOpened {
  openDirect(): Descriptor;
  tryOpenDirect(): Descriptor | undefined;
}

/**
 * Access to `file` past the page cache, owned by `owner`: as direct-io demands, or where it can be had,
 * for what is faster that way. A migration to a file ends on stable storage: the page cache gains
 * nothing for long runs of pages, but costs a copy of each and memory for it.
 */
export function directAccess(
  file: DirectlyOpened,
  demanded: boolean,
  owner: DisposableStack,
): DirectAccess | undefined {
  const descriptor = demanded ? file.openDirect() : file.tryOpenDirect();
  if (descriptor === undefined) return undefined;
  return { fd: owner.use(descriptor).fd, always: demanded };
}

/**
 * Runs `transfer`. Throws PageTransferError, or MigrationCancelled when `cancelled` was aborted. No thread
 * works any more when it settles.
 */
export async function moveRange(transfer: PageTransfer, cancelled: AbortSignal): Promise<void> {
  const stop = () => transfer.cancel();
  if (cancelled.aborted) throw new MigrationCancelled();
  cancelled.addEventListener("abort", stop);
  try {
    if (!await transfer.run()) throw new MigrationCancelled();
  } finally {
    cancelled.removeEventListener("abort", stop);
  }
}
