/**
 * All timers of the event loop on one timerfd, which is there from the start: making, arming and
 * disarming a timer needs no descriptor, so that it works when there is none left.
 */
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import { Descriptor, type Fd } from "./descriptor.ts";

/** Milliseconds after which a timerfd that could not be set is set again, by the runtime's own timer. */
const SET_AGAIN_MS = 1;

/** Takes what a handler threw. */
export type FaultHandler = (fault: unknown) => void;

/** A one-shot timer on CLOCK_MONOTONIC. */
export interface Timer extends Disposable {
  /** Fires at `expiry`, in ns of CLOCK_MONOTONIC (at once if that is past). */
  arm(expiry: bigint): void;
  disarm(): void;
}

/** CLOCK_MONOTONIC in ns. */
export function monotonicTime(): bigint {
  return native.molt_clock(1);
}

class QueuedTimer implements Timer {
  expiry: bigint | undefined;
  #disposed = false;

  constructor(
    readonly handler: () => void,
    readonly failed: FaultHandler,
    readonly armed: Set<QueuedTimer>,
    readonly changed: () => void,
  ) {}

  arm(expiry: bigint): void {
    if (this.#disposed) return;
    this.expiry = expiry;
    this.armed.add(this);
    this.changed();
  }

  disarm(): void {
    if (!this.armed.delete(this)) return;
    this.expiry = undefined;
    this.changed();
  }

  [Symbol.dispose](): void {
    this.disarm();
    this.#disposed = true;
  }
}

/** The timers. Whoever waits for {@linkcode fd} to be readable calls {@linkcode expire} then. */
export class TimerQueue implements Disposable {
  readonly #descriptor = new Descriptor(unwrap(native.molt_timerfd(), "Could not create a timer"));
  readonly #armed = new Set<QueuedTimer>();
  readonly #expirations = new Uint8Array(8);
  /** What the timerfd is set to; 0: nothing. */
  #set = 0n;
  #expiring = false;

  get fd(): Fd {
    return this.#descriptor.fd;
  }

  /** A timer that calls `handler` once each time it was armed and expired. */
  timer(handler: () => void, failed: FaultHandler): Timer {
    return new QueuedTimer(handler, failed, this.#armed, () => this.#program());
  }

  /** Calls `fire` for each timer that has expired. */
  expire(fire: (timer: { handler: () => void; failed: FaultHandler }) => void): void {
    // Setting the timerfd anew clears what a failed read has left.
    native.molt_read(this.fd, this.#expirations, 8n);
    this.#set = 0n;
    this.#expiring = true;
    try {
      const now = monotonicTime();
      for (const timer of [...this.#armed]) {
        // An earlier handler may have disarmed or postponed this one.
        if (timer.expiry === undefined || timer.expiry > now) continue;
        timer.expiry = undefined;
        this.#armed.delete(timer);
        fire(timer);
      }
    } finally {
      this.#expiring = false;
      this.#program();
    }
  }

  [Symbol.dispose](): void {
    this.#armed.clear();
    this.#descriptor[Symbol.dispose]();
  }

  /** Sets the timerfd to the first expiry. */
  #program(): void {
    if (this.#expiring || this.#descriptor.closed) return;
    let first = 0n;
    for (const { expiry = 0n } of this.#armed) {
      if (first === 0n || expiry < first) first = expiry > 0n ? expiry : 1n;
    }
    if (first === this.#set) return;
    this.#set = first;
    if (native.molt_timerfd_set(this.fd, first) >= 0) return;
    // Timers are what everything else recovers by: this one is never given up.
    this.#set = -1n;
    setTimeout(() => this.#program(), SET_AGAIN_MS);
  }
}
