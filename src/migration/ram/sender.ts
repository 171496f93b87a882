/** How RAM leaves: one strategy for each way, all with the same three steps. */

/** Sends RAM. What it writes goes to the main stream, and pages perhaps elsewhere. */
export interface RamSender {
  /** The `ram` section's START: the block list. The guest may run. */
  begin(): Promise<void>;
  /**
   * Sends what is dirty while the guest runs, and returns how many bytes are left. Called until the
   * rest can be sent within the downtime limit.
   */
  pass(): Promise<number>;
  /** Sends the rest: the guest has stopped. The `ram` section's END. */
  finish(): Promise<void>;
}
