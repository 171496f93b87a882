/**
 * Requests of the guest that the host has not finished although their devices are stopped: a file system on
 * a network keeps them for as long as it likes. Nothing is saved, reset or ended before they have ended,
 * because they use the guest's memory; the event loop goes on meanwhile.
 *
 *   stopped, none under way -> settled
 *   stopped, some under way -> (the devices: ended) -> settled
 *                           -> (started again, given up, too long) -> who waits is notified
 */
import { report } from "../process/messages.ts";

/** Milliseconds after which people are informed of what is being waited for. */
const NOTICE_MS = 3000;
/** Milliseconds after which a wait is given up. */
const LIMIT_MS = 30_000;

/** The host has not finished requests in time. */
export class RequestsUnderWayError extends Error {
  override readonly name = "RequestsUnderWayError";

  constructor(disks: string) {
    super(`requests of ${disks} have been under way for ${LIMIT_MS / 1000} s`);
  }
}

/** How long a wait may take, and what ends it. */
export interface SettleOptions {
  /** Gives the wait up, with the signal's reason. */
  readonly signal?: AbortSignal;
  /** False: as long as it takes. */
  readonly limited: boolean;
}

/** Who waits for a machine's requests. */
export class RequestsUnderWay {
  readonly #names: () => readonly string[];
  readonly #waiting = new Set<() => void>();

  /** `names` gives what has requests under way, for messages. */
  constructor(names: () => readonly string[]) {
    this.#names = names;
  }

  /** Nothing is under way. */
  get settled(): boolean {
    return this.#names().length === 0;
  }

  /** Nothing is under way any more, or the machine runs again: nobody waits any longer. */
  release(): void {
    for (const resume of [...this.#waiting]) resume();
  }

  /** Resolves when nothing is under way, at once if that is so already. */
  async wait({ signal, limited }: SettleOptions): Promise<void> {
    if (this.settled) return;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const names = () => this.#names().join(", ");
    const notice = setTimeout(() => report(`waiting for requests of ${names()}`), NOTICE_MS);
    const limit = limited
      ? setTimeout(() => reject(new RequestsUnderWayError(names())), LIMIT_MS)
      : undefined;
    const aborted = () => reject(signal?.reason);
    signal?.addEventListener("abort", aborted, { once: true });
    this.#waiting.add(resolve);
    try {
      await promise;
    } finally {
      this.#waiting.delete(resolve);
      signal?.removeEventListener("abort", aborted);
      clearTimeout(notice);
      clearTimeout(limit);
    }
  }
}
