/** Waits for somebody else: they end when the attempt is interrupted, or after a time. */

/** What `promise` comes to, or the signal's reason as soon as it is aborted. */
export async function unlessAborted<Value>(
  promise: Promise<Value>,
  signal: AbortSignal,
): Promise<Value> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** What `promise` comes to, or the error that `expired` makes after so many milliseconds. */
export async function within<Value>(
  milliseconds: number,
  promise: Promise<Value>,
  expired: () => Error,
): Promise<Value> {
  const { promise: limit, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(expired()), milliseconds);
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Calls `stalled` once if `progress` has not changed for so many milliseconds. */
export class ProgressLimit implements Disposable {
  readonly #milliseconds: number;
  readonly #progress: () => number;
  readonly #stalled: () => void;
  readonly #timer: ReturnType<typeof setInterval>;
  #seen: number;
  #since = performance.now();

  constructor(milliseconds: number, progress: () => number, stalled: () => void) {
    this.#milliseconds = milliseconds;
    this.#progress = progress;
    this.#stalled = stalled;
    this.#seen = progress();
    this.#timer = setInterval(() => this.#look(), Math.max(1, milliseconds / LOOKS));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const progress = this.#progress();
    const now = performance.now();
    if (progress !== this.#seen) {
      this.#seen = progress;
      this.#since = now;
    } else if (now - this.#since >= this.#milliseconds) {
      this[Symbol.dispose]();
      this.#stalled();
    }
  }
}

/** How often progress is looked at within the limit. */
const LOOKS = 8;
