/**
 * auto-converge: slows a guest down that dirties memory faster than it can be sent, in steps, until it
 * does not. Twice in a row it must have dirtied more than the threshold's share of what was sent.
 */
import { PAGE_SIZE } from "../../memory/ram_block.ts";

/** Takes a share of the vCPUs' time away. */
export interface CpuThrottle {
  /** Percentage of the time in which vCPUs do not run: 0 to 99. */
  percentage: number;
}

/** The parameters cpu-throttle-* and throttle-trigger-threshold. */
export interface AutoConvergeParameters {
  readonly triggerThreshold: number;
  readonly initial: number;
  readonly increment: number;
  readonly tailslow: boolean;
  readonly maximum: number;
}

/** A period is at least so long. */
const PERIOD_MS = 1000;

/** Decides about throttling, period by period. */
export class AutoConverge {
  readonly #throttle: CpuThrottle;
  readonly #parameters: () => AutoConvergeParameters;
  #periodStart = performance.now();
  #sentBefore = 0;
  #dirtied = 0;
  #tooMuch = 0;

  constructor(throttle: CpuThrottle, parameters: () => AutoConvergeParameters) {
    this.#throttle = throttle;
    this.#parameters = parameters;
  }

  /** To be called after each synchronisation: pages newly dirty, and bytes sent since the beginning. */
  synchronised(dirtied: number, sent: number): void {
    this.#dirtied += dirtied * PAGE_SIZE;
    const now = performance.now();
    if (now - this.#periodStart < PERIOD_MS) return;
    const { triggerThreshold } = this.#parameters();
    const allowed = (sent - this.#sentBefore) * triggerThreshold / 100;
    if (this.#dirtied > allowed && ++this.#tooMuch >= 2) {
      this.#tooMuch = 0;
      this.#slowDown(allowed / this.#dirtied);
    }
    this.#periodStart = now;
    this.#sentBefore = sent;
    this.#dirtied = 0;
  }

  /** `ratio`: what the guest may dirty, to what it dirties. */
  #slowDown(ratio: number): void {
    const { initial, increment, tailslow, maximum } = this.#parameters();
    const now = this.#throttle.percentage;
    if (now === 0) {
      this.#throttle.percentage = initial;
      return;
    }
    const running = 100 - now;
    const step = tailslow ? Math.min(Math.floor(running - running * ratio), increment) : increment;
    this.#throttle.percentage = Math.min(now + step, maximum);
  }
}
