/**
 * The host's time of day as a clock for devices (-rtc clock=host): ns since 1970. It goes on while
 * the machine is stopped, but its timers fire only when it runs; one that expired meanwhile fires
 * when it starts.
 */
import type { RunStateListener, VirtualClock, VirtualTimer } from "./device.ts";

/** The host's clock, with timers that stop when the machine does. */
export class HostClock implements VirtualClock, RunStateListener {
  readonly #virtual: VirtualClock;
  readonly #realTime: () => bigint;
  readonly #timers = new Set<HostTimer>();

  /** `virtual` carries the timers; `realTime` is the host's clock, in ns since 1970. */
  constructor(virtual: VirtualClock, realTime: () => bigint) {
    this.#virtual = virtual;
    this.#realTime = realTime;
  }

  now(): bigint {
    return this.#realTime();
  }

  timer(handler: () => void): VirtualTimer {
    const timer = new HostTimer(this, this.#virtual, handler, () => this.#timers.delete(timer));
    this.#timers.add(timer);
    return timer;
  }

  /** Host time went on while the virtual clock was paused. */
  runStateChanged(running: boolean): void {
    if (!running) return;
    for (const timer of this.#timers) {
      if (timer.expiry !== undefined) timer.arm(timer.expiry);
    }
  }
}

class HostTimer implements VirtualTimer {
  readonly #host: HostClock;
  readonly #virtual: VirtualClock;
  readonly #timer: VirtualTimer;
  readonly #forget: () => void;
  #expiry: bigint | undefined;

  constructor(host: HostClock, virtual: VirtualClock, handler: () => void, forget: () => void) {
    this.#host = host;
    this.#virtual = virtual;
    this.#forget = forget;
    this.#timer = virtual.timer(() => {
      const expiry = this.#expiry;
      if (expiry === undefined) return;
      if (host.now() < expiry) {
        // The host's clock was set back.
        this.arm(expiry);
        return;
      }
      this.#expiry = undefined;
      handler();
    });
  }

  get expiry(): bigint | undefined {
    return this.#expiry;
  }

  arm(expiry: bigint): void {
    this.#expiry = expiry;
    this.#timer.arm(this.#virtual.now() + expiry - this.#host.now());
  }

  disarm(): void {
    this.#expiry = undefined;
    this.#timer.disarm();
  }

  [Symbol.dispose](): void {
    this.disarm();
    this.#timer[Symbol.dispose]();
    this.#forget();
  }
}
