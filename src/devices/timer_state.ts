/** Saved state of the machine's clocks: section `timer`. */
import { i16, i64, padding, type StateOf, struct, subsection, timer } from "../vmstate/vmstate.ts";

/** Instruction counting, which only QEMU's own CPU emulation has. */
const instructionCount = subsection({
  name: "timer/icount",
  version: 1,
  fields: { qemuIcountBias: i64(), qemuIcount: i64() },
  subsections: {
    warpTimer: subsection({
      name: "timer/icount/warp_timer",
      version: 1,
      fields: { vmClockWarpStart: i64(), icountWarpTimer: timer() },
    }),
    timers: subsection({
      name: "timer/icount/timers",
      version: 1,
      fields: { icountRtTimer: timer(), icountVmTimer: timer() },
    }),
    shift: subsection({
      name: "timer/icount/shift",
      version: 2,
      fields: { icountTimeShift: i16(), lastDelta: i64() },
    }),
  },
});

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
  subsections: { instructionCount },
});

export type TimerState = StateOf<typeof timerState>;
