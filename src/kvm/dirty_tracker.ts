/** What a live migration needs to know: which pages the guest has written since. */
import type { MemoryRegion } from "../memory/guest_memory.ts";
import type { RamBlock } from "../memory/ram_block.ts";
import type { PageBitmap } from "../native/pages.ts";

/** Hears of slots whose memory changes. */
export interface SlotListener {
  changing(): void;
  changed(slot: number, region: MemoryRegion): void;
}

/** The memory slots, seen by who tracks writes to them. A region's index is its slot's number. */
export interface LoggedSlots {
  /** Notifies of slots that show other memory: before, and when it is done. No processor runs meanwhile. */
  addListener(listener: SlotListener): void;
  readonly regions: readonly MemoryRegion[];
  /** Starts or stops recording which pages the guest writes. */
  logDirtyPages(on: boolean): void;
}

/** Records which pages of RAM the guest's processors write. */
export interface DirtyTracker {
  /** Begins to record. Everything written before counts as clean. */
  start(): void;
  /** Ends recording. */
  stop(): void;
  /**
   * Sets the pages written since the last call in the bitmaps of their blocks; blocks without a bitmap
   * are of no interest. Runs off the isolate: nothing else may change the bitmaps meanwhile.
   */
  collect(bitmaps: ReadonlyMap<RamBlock, PageBitmap>): Promise<void>;
  /**
   * To be called before the contents of those pages of [first, end) are read that are set in
   * `bitmap`: a write after that is recorded.
   */
  protect(block: RamBlock, bitmap: PageBitmap, first: number, end: number): Promise<void>;
  /** A processor waits because its ring is full. */
  emptyRings(): void;
}
