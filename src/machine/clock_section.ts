/** The machine's clocks as the section `timer`. */
import { type TimerState, timerState } from "../devices/timer_state.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import type { MachineClock } from "./clock.ts";

/** Saves the virtual clock. The tick counter beside it is QEMU's own; its value is only passed on. */
export class ClockSection implements SavedDevice<TimerState> {
  readonly idstr = "timer";
  readonly instanceId = 0;
  readonly description = timerState;
  readonly #clock: MachineClock;
  #ticksOffset = 0n;

  constructor(clock: MachineClock) {
    this.#clock = clock;
  }

  save(): TimerState {
    return {
      cpuTicksOffset: this.#ticksOffset,
      cpuClockOffset: this.#clock.now(),
    } as TimerState;
  }

  load(state: TimerState): void {
    this.#ticksOffset = state.cpuTicksOffset;
    this.#clock.set(state.cpuClockOffset);
  }
}
