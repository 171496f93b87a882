/** Saved state of KVM's paravirtual clock: section `kvmclock`. */
import { bool, type StateOf, struct, subsection, u64 } from "../vmstate/vmstate.ts";

export const kvmclockState = struct({
  name: "kvmclock",
  version: 1,
  fields: {
    /** KVM_GET_CLOCK in ns when the machine stopped. */
    clock: u64(),
  },
  subsections: {
    /** Always written by QEMU. Whether `clock` came from a kernel with a stable clock. */
    clockIsReliable: subsection({
      name: "kvmclock/clock_is_reliable",
      version: 1,
      key: "clockIsReliable",
      field: bool(),
    }),
  },
});

export type KvmclockState = StateOf<typeof kvmclockState>;
