/**
 * The periodic interrupt of an MC146818: a timer that expires every so many ticks of the time base,
 * which registers A and B select.
 */
import type { VirtualClock, VirtualTimer } from "./device.ts";
import { RegisterA, RegisterB } from "./rtc_registers.ts";
import type { PeriodicState } from "./rtc_state.ts";

const SECOND = 1_000_000_000n;
/** Ticks of the time base in a second. */
export const TICKS_PER_SECOND = 32768n;

/** When the interrupt comes. */
export class PeriodicTimer {
  readonly #clock: VirtualClock;
  readonly #timer: VirtualTimer;
  readonly #registers: () => { a: number; b: number };
  readonly #expired: () => void;
  #nextTime = 0n;
  /** Ticks between interrupts, 0 if they are off. */
  #period = 0n;
  #irqCoalesced = 0;

  /** `expired` is called once a period. */
  constructor(
    clock: VirtualClock,
    registers: () => { a: number; b: number },
    expired: () => void,
  ) {
    this.#clock = clock;
    this.#registers = registers;
    this.#expired = expired;
    this.#timer = clock.timer(() => this.#tick());
  }

  /** The next interrupt comes one period from now. */
  restart(): void {
    this.#schedule(this.#clock.now());
  }

  /** The rate changed, or the interrupt was switched: ticks since the last interrupt count. */
  change(): void {
    const now = this.#clock.now();
    const oldPeriod = this.#period;
    let elapsed = 0n;
    if (oldPeriod > 0n) {
      elapsed = nsToTicks(now) - (nsToTicks(this.#nextTime) - oldPeriod);
    }
    this.#schedule(now, elapsed);
  }

  save(): PeriodicState {
    return {
      periodicTimer: this.#timer.expiry,
      nextPeriodicTime: this.#nextTime,
      irqCoalesced: this.#irqCoalesced,
      period: Number(this.#period),
    };
  }

  /** Takes over a state, to which the registers belong. */
  load(state: PeriodicState): void {
    this.#irqCoalesced = state.irqCoalesced;
    this.#nextTime = state.nextPeriodicTime;
    this.#period = this.#selectedPeriod();
    if (state.periodicTimer === undefined) this.#timer.disarm();
    else this.#timer.arm(state.periodicTimer);
  }

  /** Whether the next interrupt is more than a period away: the clock is behind the one saved under. */
  get beyondPeriod(): boolean {
    return this.#nextTime - this.#clock.now() > ticksToNs(this.#period);
  }

  /** By registers A and B. */
  #selectedPeriod(): bigint {
    const { a, b } = this.#registers();
    const rate = a & RegisterA.rate;
    if ((b & RegisterB.periodic) === 0 || rate === 0) return 0n;
    // With this time base the two fastest rates are those of 8 and 9.
    return 1n << BigInt((rate <= 2 ? rate + 7 : rate) - 1);
  }

  /** Arms the timer one period after `from` less the ticks already elapsed. */
  #schedule(from: bigint, elapsed = 0n): void {
    this.#period = this.#selectedPeriod();
    if (this.#period === 0n) {
      this.#irqCoalesced = 0;
      this.#timer.disarm();
      return;
    }
    const counted = elapsed < 0n ? 0n : elapsed > this.#period ? this.#period : elapsed;
    this.#nextTime = ticksToNs(nsToTicks(from) + this.#period - counted) + 1n;
    this.#timer.arm(this.#nextTime);
  }

  #tick(): void {
    const now = this.#clock.now();
    const period = ticksToNs(this.#period);
    // Ticks that were missed altogether are lost, not delivered in a burst.
    const missed = period > 0n ? (now - this.#nextTime) / period : 0n;
    this.#schedule(this.#nextTime + (missed > 0n ? missed * period : 0n));
    this.#expired();
  }
}

function nsToTicks(ns: bigint): bigint {
  return ns * TICKS_PER_SECOND / SECOND;
}

function ticksToNs(ticks: bigint): bigint {
  return ticks * SECOND / TICKS_PER_SECOND;
}
