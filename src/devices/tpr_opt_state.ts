/** Saved state of the task-priority optimisation for old guests: section `kvm-tpr-opt`, zeros on microvm. */
import { array, nested, padding, type StateOf, struct, u32 } from "../vmstate/vmstate.ts";

const handlers = struct({
  name: "kvmvapic-handlers",
  version: 1,
  fields: {
    setTpr: u32(),
    setTprEax: u32(),
    /** One for each register. */
    getTpr: array(u32(), 8),
    getTprStack: u32(),
  },
});

const guestRom = struct({
  name: "kvmvapic-guest-rom",
  version: 1,
  fields: {
    unused: padding(8),
    vaddr: u32(),
    fixupStart: u32(),
    fixupEnd: u32(),
    vapicVaddr: u32(),
    vapicSize: u32(),
    vcpuShift: u32(),
    realTprAddr: u32(),
    /** Handlers for a guest with a single processor. */
    up: nested(handlers),
    /** Handlers for a guest with several. */
    mp: nested(handlers),
  },
});

export const tprOptState = struct({
  name: "kvm-tpr-opt",
  version: 1,
  fields: {
    romState: nested(guestRom),
    /** 0 inactive, 1 active, 2 standby. */
    state: u32(),
    realTprAddr: u32(),
    romStateVaddr: u32(),
    vapicPaddr: u32(),
    romStatePaddr: u32(),
  },
});

export type TprOptState = StateOf<typeof tprOptState>;
