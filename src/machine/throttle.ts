/**
 * Slows the guest down: its processors run for 10 ms, then sleep for as long as makes the wanted share
 * of the time, and so on.
 */
import { type EventLoop, monotonicTime, type Timer } from "../native/event_loop.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { reportFault } from "../native/faults.ts";

/** How long processors run between sleeps, in ns. */
const RUN_TIME = 10_000_000;

/** Takes a share of their time away from all processors. */
export class VcpuThrottle implements Disposable {
  readonly #vcpus: readonly Vcpu[];
  readonly #timer: Timer;
  #percentage = 0;

  constructor(loop: EventLoop, vcpus: readonly Vcpu[]) {
    this.#vcpus = vcpus;
    // A throttle that fails throttles no more.
    this.#timer = loop.timer(() => this.#sleep(), (fault) => {
      reportFault(fault, "CPU throttle");
      this.percentage = 0;
    });
  }

  /** Percentage of the time in which processors sleep: 0 to 99. */
  get percentage(): number {
    return this.#percentage;
  }

  set percentage(percentage: number) {
    const before = this.#percentage;
    this.#percentage = percentage;
    if (percentage === 0) {
      this.#timer.disarm();
      if (before > 0) this.#sleepFor(0);
    } else if (before === 0) {
      this.#sleep();
    }
  }

  /** What takes time away ends. */
  [Symbol.dispose](): void {
    this.percentage = 0;
    this.#timer[Symbol.dispose]();
  }

  #sleep(): void {
    const share = this.#percentage / 100;
    const length = Math.round(RUN_TIME * share / (1 - share));
    this.#sleepFor(length);
    this.#timer.arm(monotonicTime() + BigInt(length + RUN_TIME));
  }

  #sleepFor(length: number): void {
    for (const { thread } of this.#vcpus) thread.sleep(BigInt(length));
  }
}
