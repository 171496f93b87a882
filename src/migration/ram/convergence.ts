/**
 * Whether the rest of the pages can be sent while the guest is paused: the time that takes at the
 * bandwidth measured last, against the downtime limit.
 */
import { PAGE_SIZE } from "../../memory/ram_block.ts";

/** Bandwidth is measured over at least so much time. */
const WINDOW_MS = 100;

/** What decides, as parameters give it at the moment. */
export interface DowntimeLimits {
  /** Longest downtime, in ms. */
  readonly downtimeLimit: number;
  /** Bytes per second that can be expected while the guest is paused; 0: as measured. */
  readonly switchoverBandwidth: number;
}

/** Measures what is sent. */
export class BandwidthMeter {
  #windowStart = performance.now();
  #windowBytes = 0;
  #windowPages = 0;
  /** Bytes per ms in the last window. */
  #bytesPerMs = 0;
  #pagesPerMs = 0;

  /** Counts what was sent. */
  add(bytes: number, pages: number): void {
    this.#windowBytes += bytes;
    this.#windowPages += pages;
    const now = performance.now();
    const elapsed = now - this.#windowStart;
    if (elapsed < WINDOW_MS) return;
    this.#bytesPerMs = this.#windowBytes / elapsed;
    this.#pagesPerMs = this.#windowPages / elapsed;
    this.#windowStart = now;
    this.#windowBytes = 0;
    this.#windowPages = 0;
  }

  /** Megabits (10^6) per second. */
  get megabitsPerSecond(): number {
    return this.#bytesPerMs * 8 / 1000;
  }

  get pagesPerSecond(): number {
    return Math.floor(this.#pagesPerMs * 1000);
  }

  /** The time in ms that `pages` pages take; `undefined` before anything was measured. */
  timeFor(pages: number, switchoverBandwidth: number): number | undefined {
    const bytesPerMs = switchoverBandwidth > 0 ? switchoverBandwidth / 1000 : this.#bytesPerMs;
    return bytesPerMs > 0 ? pages * PAGE_SIZE / bytesPerMs : undefined;
  }

  /** Whether `pages` pages can be sent within the downtime limit. */
  fits(pages: number, limits: DowntimeLimits): boolean {
    if (pages === 0) return true;
    const time = this.timeFor(pages, limits.switchoverBandwidth);
    return time !== undefined && time < limits.downtimeLimit;
  }
}
