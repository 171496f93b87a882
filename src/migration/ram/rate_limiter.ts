/** max-bandwidth: in each slice of 100 ms so much may be sent, then the sender waits for the next. */

const SLICE_MS = 100;

/** Lets senders go on at a rate that may change at any time. */
export class RateLimiter {
  readonly #bytesPerSecond: () => number;
  readonly #signal: AbortSignal;
  #sliceStart = performance.now();
  #used = 0;

  /** `bytesPerSecond` is asked for each slice; 0: no limit. Aborting `signal` ends waiting. */
  constructor(bytesPerSecond: () => number, signal: AbortSignal) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#signal = signal;
  }

  /** How many bytes may be sent now: at least one. Waits while it is none. */
  async quota(): Promise<number> {
    for (;;) {
      const perSlice = this.#bytesPerSecond() * SLICE_MS / 1000;
      if (perSlice === 0 || this.#signal.aborted) return Infinity;
      const now = performance.now();
      const slices = Math.floor((now - this.#sliceStart) / SLICE_MS);
      if (slices > 0) {
        this.#sliceStart += slices * SLICE_MS;
        this.#used = Math.max(this.#used - slices * perSlice, 0);
      }
      if (this.#used < perSlice) return perSlice - this.#used;
      await this.#sleep(this.#sliceStart + SLICE_MS - now);
    }
  }

  /** Says how much was sent, or is going to be. */
  use(bytes: number): void {
    this.#used += bytes;
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#signal.addEventListener("abort", end, { once: true });
    });
  }
}
