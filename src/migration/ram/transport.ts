/** How dirty pages travel: in the main stream, on multifd's channels beside it, or to places in a file. */
import type { DirtyRange } from "./dirty_pages.ts";
import type { RamListing } from "./sender.ts";

/** What became of a range. */
export interface SentPages {
  /** Bytes on the wire. */
  readonly bytes: number;
  /** Those of the bytes that did not go through the main channel. */
  readonly apart?: number;
  /** Pages with content. */
  readonly normal: number;
  readonly zero: number;
}

/** Sends ranges of pages. */
export interface PageTransport extends AsyncDisposable {
  /** How many ranges can be sent at the same time. */
  readonly parallel: number;
  /** Opens what is needed besides the main stream, before anything else. */
  open?(): Promise<void>;
  /** Sends the dirty pages of a range that was prepared. Resolves when none of them is read any more. */
  send(range: DirtyRange): Promise<SentPages>;
  /**
   * Makes sure that what was sent so far counts before what is sent later. Writes to the main stream,
   * inside the `ram` section.
   */
  synchronise(): Promise<void>;
  /** Writes a block list of its own kind to the main stream. Absent: it is the ordinary one. */
  listBlocks?(listings: readonly RamListing[]): Promise<void>;
  /** All pages were sent: writes what belongs behind them, inside the last part of the `ram` section. */
  complete?(): Promise<void>;
  /** Ends what is still under way. The channel was cancelled if there is any. */
  [Symbol.asyncDispose](): Promise<void>;
}
