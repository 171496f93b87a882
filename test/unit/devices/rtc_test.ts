import { assert, assertEquals } from "@std/assert";
import { setCmosMemorySize } from "../../../src/devices/cmos_memory_size.ts";
import { Rtc, type RtcDependencies, rtcStartTime } from "../../../src/devices/rtc.ts";
import { migrate } from "./saved_state.ts";
import { ManualClock, RecordedLine } from "./dependencies.ts";

const SECOND = 1_000_000_000n;
const START = Date.UTC(2031, 11, 31, 23, 59, 58) / 1000;

function clock(options: Partial<RtcDependencies> = {}, now = 0n) {
  const irq = new RecordedLine();
  const time = new ManualClock(now);
  const rtc = new Rtc({
    irq,
    clock: time,
    clockSurvivesMigration: true,
    startTime: START,
    ...options,
  });
  const read = (index: number) => {
    rtc.write(0, 1, index);
    return rtc.read(1, 1);
  };
  const write = (index: number, value: number) => {
    rtc.write(0, 1, index);
    rtc.write(1, 1, value);
  };
  /** Century, year, month, day, day of the week, hours, minutes, seconds as the registers have them. */
  const calendar = () => [0x32, 9, 8, 7, 6, 4, 2, 0].map(read);
  return { irq, time, rtc, read, write, calendar };
}

Deno.test("after power-on it shows the start time in BCD and 24 hours, and rolls over", () => {
  const { calendar, time, read } = clock();
  assertEquals(calendar(), [0x20, 0x31, 0x12, 0x31, 4, 0x23, 0x59, 0x58]);
  time.step(2n * SECOND);
  assertEquals(calendar(), [0x20, 0x32, 0x01, 0x01, 5, 0, 0, 0]);
  // It is midnight, which the alarm registers say after power-on.
  assertEquals([0x0a, 0x0b, 0x0c, 0x0d].map(read), [0x26, 0x02, 0x30, 0x80]);
});

Deno.test("binary and 12 hours are shown once the time is next written out", () => {
  const { calendar, time, write } = clock();
  write(0x0b, 0x04);
  time.step(SECOND);
  assertEquals(calendar(), [20, 31, 12, 31, 4, 0x80 | 11, 59, 59]);
  time.step(SECOND);
  assertEquals(calendar(), [20, 32, 1, 1, 5, 12, 0, 0]);
});

Deno.test("setting the time: frozen while SET, then it counts from what was written", () => {
  const changes: number[] = [];
  const { write, time, calendar } = clock({ onTimeSet: (seconds) => changes.push(seconds) });
  write(0x0b, 0x82);
  const values: [number, number][] = [
    [0x32, 0x19],
    [9, 0x99],
    [8, 0x12],
    [7, 0x31],
    [4, 0x23],
    [2, 0x59],
    [0, 0x59],
  ];
  for (const [index, value] of values) write(index, value);
  time.step(10n * SECOND);
  assertEquals(changes, []);
  write(0x0b, 0x02);
  assertEquals(changes, [Date.UTC(1999, 11, 31, 23, 59, 59) / 1000]);
  time.step(SECOND);
  assertEquals(calendar(), [0x20, 0, 1, 1, 7, 0, 0, 0]);
});

Deno.test("update in progress shows for 244 us before each second", () => {
  const { read, time } = clock();
  time.step(SECOND - 244_141n);
  assertEquals(read(0x0a) & 0x80, 0);
  time.step(2n);
  assertEquals(read(0x0a) & 0x80, 0x80);
  time.step(244_139n);
  assertEquals(read(0x0a) & 0x80, 0);
  assertEquals(read(0), 0x59);
});

Deno.test("the update interrupt comes every second until it is switched off", () => {
  const { read, write, time, irq } = clock({ startTime: START - 3600 });
  write(0x0b, 0x12);
  time.step(SECOND);
  assert(irq.level);
  time.step(5n * SECOND);
  assertEquals(irq.rises, 1, "no second one before register C was read");
  assertEquals(read(0x0c), 0x90);
  assert(!irq.level);
  time.step(SECOND);
  assertEquals([irq.rises, read(0x0c)], [2, 0x90]);
  write(0x0b, 0x02);
  time.step(SECOND);
  assertEquals([irq.rises, read(0x0c)], [2, 0x10]);
});

Deno.test("an alarm fires at its second; wildcards repeat it; an impossible one never comes", () => {
  const { read, write, time, irq } = clock();
  write(1, 0x05);
  write(3, 0x00);
  write(5, 0xff);
  write(0x0b, 0x22);
  time.step(6n * SECOND);
  assert(!irq.level);
  time.step(SECOND);
  assert(irq.level);
  assertEquals(read(0x0c), 0xb0);
  time.step(3599n * SECOND);
  assert(!irq.level);
  time.step(SECOND);
  assertEquals(read(0x0c) & 0x20, 0x20, "again an hour later");
  write(1, 0x75);
  time.step(200_000n * SECOND);
  assertEquals(read(0x0c) & 0x20, 0);
});

Deno.test("the periodic interrupt has the chosen rate; missed ones are not made up for", () => {
  const { read, write, time, irq } = clock();
  write(0x0b, 0x42);
  time.step(1n);
  let ticks = 0;
  for (let i = 0; i < 4000; i++) {
    time.step(SECOND / 4000n);
    if (irq.level) ticks++;
    read(0x0c);
  }
  assertEquals(ticks, 1024);
  write(0x0a, 0x2f);
  time.step(SECOND);
  assertEquals(irq.rises, 1025);
  time.step(3600n * SECOND);
  assertEquals([irq.rises, read(0x0c) & 0xc0], [1025, 0xc0]);
});

Deno.test("saved between a tick and its acknowledgement, it goes on in the other process", () => {
  const from = clock();
  from.write(0x0b, 0x72);
  from.write(0x0a, 0x2a);
  from.time.step(SECOND + 1n);
  assert(from.irq.level);
  const to = clock({ startTime: 0 }, from.time.now());
  migrate(from.rtc, to.rtc);
  assertEquals(to.read(0x0c), from.read(0x0c));
  for (const { time } of [from, to]) time.step(SECOND / 3n);
  assertEquals(to.rtc.save(), from.rtc.save());
  assertEquals(to.calendar(), from.calendar());
});

Deno.test("on a clock that starts anew it goes on from the calendar that was saved", () => {
  const from = clock({ clockSurvivesMigration: false }, 1_000_000n * SECOND);
  from.time.step(SECOND);
  const to = clock({ clockSurvivesMigration: false, startTime: 0 }, 5n);
  migrate(from.rtc, to.rtc);
  to.time.step(SECOND);
  assertEquals(to.calendar(), [0x20, 0x32, 1, 1, 5, 0, 0, 0]);
});

Deno.test("on a host whose clock is behind, a periodic interrupt does not wait for it", () => {
  const from = clock({}, 1_000_000n * SECOND);
  from.write(0x0b, 0x42);
  const to = clock({}, 500n * SECOND);
  migrate(from.rtc, to.rtc);
  to.time.step(SECOND);
  assert(to.irq.level);
});

Deno.test("reset switches interrupts off and keeps time and memory", () => {
  const { rtc, read, write, time, irq } = clock();
  write(0x0b, 0x72);
  write(0x50, 0x5a);
  time.step(SECOND);
  assert(irq.level);
  rtc.reset();
  assertEquals([irq.level, read(0x0b), read(0x0c), read(0x50)], [false, 0x12, 0, 0x5a]);
  assertEquals(read(0), 0x59);
});

Deno.test("ports: the index reads as ones, its bit 7 is the NMI mask, 0x37 is the century", () => {
  const { rtc, read } = clock();
  assertEquals(rtc.read(0, 1), 0xff);
  assertEquals(read(0x80 | 0x0d), 0x80);
  assertEquals(rtc.read(0, 2), 0x80ff, "a wide access is one of bytes");
  assertEquals(read(0x37), 0x20);
});

Deno.test("memory sizes are where QEMU puts them", () => {
  const { rtc, read } = clock();
  const sizes = () => [0x15, 0x16, 0x17, 0x18, 0x30, 0x31, 0x34, 0x35, 0x5b, 0x5c, 0x5d].map(read);
  setCmosMemorySize(rtc, 8 << 20, 0);
  assertEquals(sizes(), [0x80, 2, 0, 0x1c, 0, 0x1c, 0, 0, 0, 0, 0]);
  setCmosMemorySize(rtc, 64 << 20, 0);
  assertEquals(sizes(), [0x80, 2, 0, 0xfc, 0, 0xfc, 0, 3, 0, 0, 0]);
  setCmosMemorySize(rtc, 3 * 2 ** 30, 3 * 2 ** 30);
  assertEquals(sizes(), [0x80, 2, 0xff, 0xff, 0xff, 0xff, 0, 0xbf, 0, 0xc0, 0]);
});

Deno.test("-rtc base: UTC, a date, or the host's local time", () => {
  assertEquals(rtcStartTime("utc", 1000), 1000);
  assertEquals(rtcStartTime(5, 1000), 5);
  const local = new Date(rtcStartTime("localtime", START) * 1000);
  assertEquals(local.getUTCHours(), new Date(START * 1000).getHours());
});
