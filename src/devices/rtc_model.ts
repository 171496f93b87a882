/** The RTC as a device of a board: its ports, its interrupt, and the size of memory in its CMOS. */
import { monotonicTime, realTime } from "../native/event_loop.ts";
import { setCmosMemorySize } from "./cmos_memory_size.ts";
import { HostClock } from "./host_clock.ts";
import { deviceModel } from "./model.ts";
import { Rtc } from "./rtc.ts";
import { RTC_IRQ, RTC_PORT, RTC_PORT_LENGTH } from "./rtc_registers.ts";

/** What a board says of its RTC. */
export interface RtcSettings {
  /** Seconds since 1970 that it starts with. */
  readonly start: number;
  /** What it runs on: the host's time of day, its monotonic clock, or the virtual one. */
  readonly runsOn: "host" | "rt" | "vm";
  /** Bytes of RAM below and above 4 GiB. */
  readonly lowRam: number;
  readonly highRam: number;
}

export const rtcModel = deviceModel({
  name: "mc146818rtc",
  create({ start, runsOn, lowRam, highRam }: RtcSettings, { clock, line, ports }) {
    const hostClock = runsOn === "vm"
      ? undefined
      : new HostClock(clock, runsOn === "host" ? realTime : monotonicTime);
    const device = new Rtc({
      irq: line(RTC_IRQ),
      clock: hostClock ?? clock,
      clockSurvivesMigration: runsOn !== "rt",
      startTime: start,
    });
    setCmosMemorySize(device, lowRam, highRam);
    ports.map("rtc", RTC_PORT, RTC_PORT_LENGTH, device);
    return {
      device,
      sections: [device],
      resettable: device,
      ...(hostClock ? { timekeeper: hostClock } : {}),
    };
  },
});
