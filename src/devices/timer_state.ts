/** Saved state of the machine's clocks: section `timer`. */
import { i64, padding, type StateOf, struct } from "../vmstate/vmstate.ts";

export const timerState = struct({
  name: "timer",
  version: 2,
  minimumVersion: 1,
  fields: {
    /** Offset of the internal tick counter to the host's. */
    cpuTicksOffset: i64(),
    unused: padding(8),
    /** The virtual clock while stopped, in ns: how long the machine has been running. */
    cpuClockOffset: i64({ since: 2 }),
  },
});

export type TimerState = StateOf<typeof timerState>;
