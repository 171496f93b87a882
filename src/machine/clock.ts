/**
 * The virtual clock: nanoseconds the machine has been running. It is paused while it is stopped.
 * In a machine that a test drives it is always paused, and the test moves it on.
 */
import {
  contain,
  type EventLoop,
  type FaultHandler,
  monotonicTime,
  type Timer,
} from "../native/event_loop.ts";
import type { VirtualClock, VirtualTimer } from "../devices/device.ts";

/** The machine's clock and the timers on it. */
export class MachineClock implements VirtualClock, Disposable {
  readonly #host: Timer;
  readonly #timers = new Set<MachineTimer>();
  readonly #drive: "host" | "test";
  readonly #failed: FaultHandler;
  /** Virtual time minus CLOCK_MONOTONIC while running; the virtual time itself while stopped. */
  #offset = 0n;
  #running = false;

  /** `drive` "test": only {@linkcode advance} moves the clock. `failed` takes what its timers throw. */
  constructor(loop: EventLoop, drive: "host" | "test", failed: FaultHandler) {
    this.#host = loop.timer(() => this.#expire(), failed);
    this.#drive = drive;
    this.#failed = failed;
  }

  now(): bigint {
    return this.#moving ? monotonicTime() + this.#offset : this.#offset;
  }

  /** Virtual time minus CLOCK_MONOTONIC: adds to a host time to give virtual time. */
  get offsetFromHost(): bigint {
    return this.#moving ? this.#offset : this.#offset - monotonicTime();
  }

  get #moving(): boolean {
    return this.#running && this.#drive === "host";
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    if (this.#moving) this.#offset -= monotonicTime();
    this.#rearm();
  }

  stop(): void {
    if (!this.#running) return;
    this.#offset = this.now();
    this.#running = false;
    this.#host.disarm();
  }

  /** Sets a stopped clock. */
  set(time: bigint): void {
    if (this.#running) throw new Error("The virtual clock can only be set while it is stopped");
    this.#offset = time;
  }

  /** When the next timer expires; `undefined` if none is armed. */
  nextExpiry(): bigint | undefined {
    let next: bigint | undefined;
    for (const { expiry } of this.#timers) {
      if (expiry !== undefined && (next === undefined || expiry < next)) next = expiry;
    }
    return next;
  }

  /** Moves a test's clock on to `time`, expiring timers on the way. It never goes back. */
  advance(time: bigint): void {
    if (this.#moving) throw new Error("The virtual clock moves by itself");
    for (let next; (next = this.nextExpiry()) !== undefined && next <= time;) {
      if (next > this.#offset) this.#offset = next;
      this.#fire();
    }
    if (time > this.#offset) this.#offset = time;
  }

  timer(handler: () => void): VirtualTimer {
    return new MachineTimer(handler, this.#timers, () => this.#rearm());
  }

  [Symbol.dispose](): void {
    this.#timers.clear();
    this.#host[Symbol.dispose]();
  }

  #rearm(): void {
    if (!this.#running) return;
    const next = this.nextExpiry();
    const wait = next === undefined ? undefined : this.#hostTime(next);
    if (wait === undefined) this.#host.disarm();
    else this.#host.arm(wait);
  }

  /** CLOCK_MONOTONIC at which a timer expires by itself. */
  #hostTime(expiry: bigint): bigint | undefined {
    if (this.#drive === "host") return expiry - this.#offset;
    return expiry <= this.#offset ? 0n : undefined;
  }

  #expire(): void {
    this.#fire();
    this.#rearm();
  }

  #fire(): void {
    const now = this.now();
    for (const timer of [...this.#timers]) {
      // An earlier handler may have disarmed or postponed this one.
      if (timer.expiry === undefined || timer.expiry > now) continue;
      contain(() => timer.fire(), this.#failed);
    }
  }
}

class MachineTimer implements VirtualTimer {
  #expiry: bigint | undefined;

  constructor(
    readonly handler: () => void,
    readonly armed: Set<MachineTimer>,
    readonly changed: () => void,
  ) {}

  get expiry(): bigint | undefined {
    return this.#expiry;
  }

  arm(expiry: bigint): void {
    this.#expiry = expiry;
    this.armed.add(this);
    this.changed();
  }

  disarm(): void {
    if (this.#expiry === undefined) return;
    this.#expiry = undefined;
    this.armed.delete(this);
    this.changed();
  }

  fire(): void {
    this.#expiry = undefined;
    this.armed.delete(this);
    this.handler();
  }

  [Symbol.dispose](): void {
    this.disarm();
  }
}
