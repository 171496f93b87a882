/** The virtual clock: nanoseconds the machine has been running. It stands still while it is stopped. */
import { type EventLoop, monotonicTime, type Timer } from "../native/event_loop.ts";
import type { VirtualClock, VirtualTimer } from "../devices/device.ts";

/** The machine's clock and the timers on it. */
export class MachineClock implements VirtualClock, Disposable {
  readonly #host: Timer;
  readonly #timers = new Set<MachineTimer>();
  /** Virtual time minus CLOCK_MONOTONIC while running; the virtual time itself while stopped. */
  #offset = 0n;
  #running = false;

  constructor(loop: EventLoop) {
    this.#host = loop.timer(() => this.#expire());
  }

  now(): bigint {
    return this.#running ? monotonicTime() + this.#offset : this.#offset;
  }

  /** Virtual time minus CLOCK_MONOTONIC: adds to a host time to give virtual time. */
  get offsetFromHost(): bigint {
    return this.#running ? this.#offset : this.#offset - monotonicTime();
  }

  start(): void {
    if (this.#running) return;
    this.#offset -= monotonicTime();
    this.#running = true;
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

  timer(handler: () => void): VirtualTimer {
    return new MachineTimer(handler, this.#timers, () => this.#rearm());
  }

  [Symbol.dispose](): void {
    this.#timers.clear();
    this.#host[Symbol.dispose]();
  }

  #rearm(): void {
    if (!this.#running) return;
    let next: bigint | undefined;
    for (const { expiry } of this.#timers) {
      if (expiry !== undefined && (next === undefined || expiry < next)) next = expiry;
    }
    if (next === undefined) this.#host.disarm();
    else this.#host.arm(next - this.#offset);
  }

  #expire(): void {
    const now = this.now();
    for (const timer of [...this.#timers]) {
      // An earlier handler may have disarmed or postponed this one.
      if (timer.expiry !== undefined && timer.expiry <= now) timer.fire();
    }
    this.#rearm();
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
