/** Saved state of the MC146818 real-time clock: section `mc146818rtc`. */
import {
  bytes,
  i64,
  padding,
  type StateOf,
  struct,
  subsection,
  timer,
  u16,
  u32,
  u64,
  u8,
} from "../vmstate/vmstate.ts";

export const rtcState = struct({
  name: "mc146818rtc",
  version: 3,
  fields: {
    /** CMOS bytes 0 to 127. */
    cmosData: bytes(128),
    /** Index last written to port 0x70. */
    cmosIndex: u8(),
    unused0: padding(28, { name: "unused[0]" }),
    /** Virtual-clock ns. */
    periodicTimer: timer(),
    /** Virtual-clock ns of the next periodic interrupt. */
    nextPeriodicTime: i64(),
    unused1: padding(24, { name: "unused[1]" }),
    /** Lost periodic interrupts still to be delivered. */
    irqCoalesced: u32(),
    /** Interval of periodic interrupts in ticks of 32768 Hz. */
    period: u32(),
    /** Seconds since 1970 at `lastUpdate`. */
    baseRtc: u64(),
    /** RTC-clock ns. */
    lastUpdate: u64(),
    /** Part of a second at `lastUpdate`, in ns. */
    offset: i64(),
    updateTimer: timer(),
    /** RTC-clock ns of the next alarm. */
    nextAlarmTime: u64(),
  },
  subsections: {
    irqReinjectOnAckCount: subsection({
      name: "mc146818rtc/irq_reinject_on_ack_count",
      version: 1,
      key: "irqReinjectOnAckCount",
      field: u16(),
      absent: 0,
    }),
  },
});

export type RtcState = StateOf<typeof rtcState>;

/** The part of the state that is the periodic interrupt's (rtc_periodic.ts). */
export type PeriodicState = Pick<
  RtcState,
  "periodicTimer" | "nextPeriodicTime" | "period" | "irqCoalesced"
>;

/** What the clock keeps itself: its timer has the rest of its part. */
export type RtcRegisters = Omit<RtcState, keyof PeriodicState | "updateTimer">;
