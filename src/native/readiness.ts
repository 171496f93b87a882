/**
 * Waits for descriptors, as promises: through the process's event loop, so that however many there are,
 * none holds a thread.
 */
import type { Fd } from "./descriptor.ts";
import { reportFault } from "./faults.ts";
import { Events, processLoop, type Watch } from "./event_loop.ts";

/** What is waited for: one of `events` ({@linkcode Events}; error and hang-up always count) for `fd`. */
export interface Condition {
  readonly fd: Fd;
  readonly events: number;
}

/** A wait for one descriptor. */
interface Waiter {
  readonly events: number;
  readonly ready: () => void;
}

/** The waits for a descriptor share a place in the loop's epoll set, which takes each only once. */
class Waiters {
  readonly #fd: Fd;
  readonly #waiters = new Set<Waiter>();
  #watch: Watch | undefined;

  constructor(fd: Fd) {
    this.#fd = fd;
  }

  add(waiter: Waiter): void {
    this.#waiters.add(waiter);
    this.#update();
  }

  delete(waiter: Waiter): void {
    if (this.#waiters.delete(waiter)) this.#update();
  }

  #update(): void {
    let events = 0;
    for (const waiter of this.#waiters) events |= waiter.events;
    if (this.#waiters.size === 0) {
      this.#watch?.[Symbol.dispose]();
      this.#watch = undefined;
      waits.delete(this.#fd);
    } else if (this.#watch !== undefined) {
      this.#watch.update(events);
    } else {
      this.#watch = processLoop().watch(
        this.#fd,
        events,
        (found) => this.#found(found),
        reportFault,
      );
    }
  }

  #found(events: number): void {
    for (const waiter of [...this.#waiters]) {
      if ((events & (waiter.events | Events.error | Events.hangUp)) !== 0) waiter.ready();
    }
  }
}

const waits = new Map<Fd, Waiters>();

/**
 * Resolves with the index of the first condition that holds. Rejects with `signal`'s reason as soon as it
 * is aborted. The descriptors must stay open until either.
 */
export function untilReady(
  conditions: readonly Condition[],
  signal?: AbortSignal,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  if (signal?.aborted) {
    reject(signal.reason);
    return promise;
  }
  using undo = new DisposableStack();
  const end = (settle: () => void) => {
    try {
      registered[Symbol.dispose]();
    } finally {
      settle();
    }
  };
  undo.use(processLoop().keepServing());
  conditions.forEach(({ fd, events }, i) => {
    const waiters = waits.get(fd) ?? new Waiters(fd);
    const waiter = { events, ready: () => end(() => resolve(i)) };
    waits.set(fd, waiters);
    undo.defer(() => waiters.delete(waiter));
    waiters.add(waiter);
  });
  const abort = () => end(() => reject(signal?.reason));
  signal?.addEventListener("abort", abort, { once: true });
  undo.defer(() => signal?.removeEventListener("abort", abort));
  const registered = undo.move();
  return promise;
}
