/** Saved state of the i8254 interval timer: section `i8254`. */
import { array, i32, i64, nested, type StateOf, struct, u16, u32, u8 } from "../vmstate/vmstate.ts";

const pitChannel = struct({
  name: "pit channel",
  version: 2,
  fields: {
    /** Reload value, 1 to 65536. */
    count: i32(),
    latchedCount: u16(),
    /** Which bytes of the latched count are still to be read. */
    countLatched: u8(),
    statusLatched: u8(),
    status: u8(),
    /** State of the access, 0 to 4 as in kvm_pit_channel_state. */
    readState: u8(),
    writeState: u8(),
    /** Low byte waiting for the high byte. */
    writeLatch: u8(),
    /** 1 low byte, 2 high byte, 3 both. */
    rwMode: u8(),
    /** 0 to 5. */
    mode: u8(),
    bcd: u8(),
    gate: u8(),
    /** Virtual-clock ns. */
    countLoadTime: i64(),
    /** Virtual-clock ns of the next edge of the output. */
    nextTransitionTime: i64(),
  },
});

/** State of one of the three channels. */
export type PitChannelState = StateOf<typeof pitChannel>;

export const pitState = struct({
  name: "i8254",
  version: 3,
  minimumVersion: 2,
  fields: {
    /** 1 while channel 0 does not raise its interrupt (KVM_PIT_FLAGS_HPET_LEGACY). */
    irqDisabled: u32({ name: "channels[0].irq_disabled", since: 3 }),
    channels: array(nested(pitChannel), 3, { since: 2 }),
    /** The same value as in channel 0. */
    nextTransitionTime: i64({ name: "channels[0].next_transition_time" }),
  },
});

export type PitState = StateOf<typeof pitState>;
