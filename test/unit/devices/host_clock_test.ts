import { assertEquals } from "@std/assert";
import { HostClock } from "../../../src/devices/host_clock.ts";
import { ManualClock } from "./dependencies.ts";

function clocks() {
  const virtual = new ManualClock(1000n);
  const host = { time: 5_000_000n };
  const clock = new HostClock(virtual, () => host.time);
  const fired: bigint[] = [];
  const timer = clock.timer(() => fired.push(host.time));
  /** Both clocks go on, as they do while the machine runs. */
  const run = (nanoseconds: bigint) => {
    host.time += nanoseconds;
    virtual.step(nanoseconds);
  };
  return { virtual, host, clock, fired, timer, run };
}

Deno.test("it shows host time; timers fire at theirs", () => {
  const { clock, timer, fired, run } = clocks();
  assertEquals(clock.now(), 5_000_000n);
  timer.arm(5_000_100n);
  assertEquals(timer.expiry, 5_000_100n);
  run(99n);
  assertEquals(fired, []);
  run(1n);
  assertEquals([fired, timer.expiry], [[5_000_100n], undefined]);
});

Deno.test("what expired while the machine was stopped fires when it starts", () => {
  const { clock, host, timer, fired, run } = clocks();
  timer.arm(5_000_100n);
  host.time += 1_000_000n;
  assertEquals(fired, []);
  clock.runStateChanged(true);
  run(0n);
  assertEquals(fired, [6_000_000n]);
});

Deno.test("when the host's clock is set back, timers wait for their time", () => {
  const { host, timer, fired, run } = clocks();
  timer.arm(5_000_100n);
  host.time -= 1000n;
  run(100n);
  assertEquals(fired, []);
  run(1000n);
  assertEquals(fired, [5_000_100n]);
});

Deno.test("a timer that was disarmed or disposed of does not fire", () => {
  const { timer, fired, run, clock } = clocks();
  timer.arm(5_000_100n);
  timer.disarm();
  run(200n);
  timer.arm(5_000_300n);
  timer[Symbol.dispose]();
  clock.runStateChanged(true);
  run(200n);
  assertEquals(fired, []);
});
