/**
 * How RAM leaves: one strategy for each way, all with the same steps.
 *
 *   begin   the `ram` section's START: the block list
 *   pass    what is dirty, while the guest runs; again until the rest fits the downtime limit
 *   finish  the rest, when the guest has stopped; the `ram` section's END
 */

import type { RamBlock } from "../../memory/ram_block.ts";
import type { RamBlockListing } from "../stream/ram_writer.ts";

/** What query-migrate's `ram` is made of. Bytes and pages count from the migration's start. */
export interface RamStatistics {
  /** Bytes sent on all channels. */
  transferred: number;
  /** Bytes of pages that are known to be dirty. */
  remaining: number;
  /** Bytes of all blocks that are sent. */
  total: number;
  /** Zero pages. */
  duplicate: number;
  /** Pages sent with content. */
  normal: number;
  /** Pages that the guest dirtied a second, by the last synchronisation. */
  dirtyPagesRate: number;
  /** How often the dirty bitmap was fetched. */
  dirtySyncCount: number;
  /** Megabits a second, by the last second. */
  mbps: number;
  pagesPerSecond: number;
  multifdBytes: number;
  precopyBytes: number;
  downtimeBytes: number;
  /** How long the guest would be paused if the rest were sent now, in ms; undefined: not known yet. */
  expectedDowntime: number | undefined;
  /** Share of their time that vCPUs lose to auto-converge; undefined while it does nothing. */
  cpuThrottlePercentage: number | undefined;
}

/** Statistics before anything was sent. */
export function emptyRamStatistics(): RamStatistics {
  return {
    transferred: 0,
    remaining: 0,
    total: 0,
    duplicate: 0,
    normal: 0,
    dirtyPagesRate: 0,
    dirtySyncCount: 0,
    mbps: 0,
    pagesPerSecond: 0,
    multifdBytes: 0,
    precopyBytes: 0,
    downtimeBytes: 0,
    expectedDowntime: undefined,
    cpuThrottlePercentage: undefined,
  };
}

/** A block as the list of the `ram` section names it. */
export interface RamListing {
  readonly block: RamBlock;
  /** Guest physical address, to be given with x-ignore-shared. */
  readonly guestAddress?: number;
  /** Listed only: the destination finds its pages by itself. */
  readonly ignored: boolean;
}

/** The block as the writer of the list takes it. */
export function blockListing({ block, guestAddress }: RamListing): RamBlockListing {
  return { name: block.name, length: block.usedLength, guestAddress };
}

/** Sends RAM. What it writes goes to the main stream, and pages perhaps elsewhere. */
export interface RamSender extends AsyncDisposable {
  readonly statistics: RamStatistics;
  begin(): Promise<void>;
  /**
   * One pass over what is dirty while the guest may run, within the bandwidth limit. Returns true when
   * the rest is expected to fit the downtime limit; to be called until it does, also for a machine that
   * is stopped. Throws MigrationCancelled soon after a cancel.
   */
  pass(): Promise<boolean>;
  finish(): Promise<void>;
  /** Ends threads and dirty tracking, whatever happened. */
  [Symbol.asyncDispose](): Promise<void>;
}
