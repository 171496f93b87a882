/** What the machine was doing before it was stopped for migration: section `globalstate`. */
import { bytes, type StateOf, struct, text, u32, u8, VmStateError } from "../vmstate/vmstate.ts";

export const globalState = struct({
  name: "globalstate",
  version: 1,
  fields: {
    /** Length of the run state's name including its NUL. */
    size: u32(),
    /** The run state's name, e.g. `running`. */
    runstate: text(32),
    /** Always 1: the next byte has a meaning. */
    hasVmWasSuspended: u8(),
    /** 1 if the guest slept (ACPI S3). */
    vmWasSuspended: u8(),
    unused: bytes(66),
  },
  postLoad(state) {
    if (state.runstate.length >= 32) throw new VmStateError("runstate name is not terminated");
  },
});

export type GlobalState = StateOf<typeof globalState>;

/** The section's state for a run state, as QEMU names it. */
export function globalStateOf(runstate: string, suspended = false): GlobalState {
  return {
    size: runstate.length + 1,
    runstate,
    hasVmWasSuspended: 1,
    vmWasSuspended: suspended ? 1 : 0,
    unused: new Uint8Array(66),
  };
}
