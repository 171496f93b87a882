/**
 * How RAM leaves: one strategy for each way, all with the same steps.
 *
 *   begin   the `ram` section's START: the block list
 *   pass    what is dirty, while the guest runs; again until the rest fits the downtime limit
 *   finish  the rest, when the guest has stopped; the `ram` section's END
 */

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
  };
}

/** Sends RAM. What it writes goes to the main stream, and pages perhaps elsewhere. */
export interface RamSender extends AsyncDisposable {
  readonly statistics: RamStatistics;
  begin(): Promise<void>;
  /**
   * One pass over what is dirty while the guest runs, within the bandwidth limit. Returns true when
   * the rest is expected to fit the downtime limit. Throws MigrationCancelled soon after a cancel.
   */
  pass(): Promise<boolean>;
  finish(): Promise<void>;
  /** Ends threads and dirty tracking, whatever happened. */
  [Symbol.asyncDispose](): Promise<void>;
}
