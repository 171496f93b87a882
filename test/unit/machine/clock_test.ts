import { assert, assertEquals, assertThrows } from "@std/assert";
import { MachineClock } from "../../../src/machine/clock.ts";
import { EventLoop } from "../../../src/native/event_loop.ts";

/** No timer of these tests throws. */
function fail(fault: unknown): never {
  throw fault;
}

Deno.test("a test moves its clock, and timers expire on the way in their order", () => {
  using loop = new EventLoop();
  using clock = new MachineClock(loop, "test", fail);
  clock.start();
  const fired: [string, bigint][] = [];
  const late = clock.timer(() => fired.push(["late", clock.now()]));
  const early = clock.timer(() => {
    fired.push(["early", clock.now()]);
    if (fired.length === 1) early.arm(30n);
  });
  late.arm(20n);
  early.arm(10n);
  assertEquals(clock.nextExpiry(), 10n);
  clock.advance(100n);
  assertEquals(fired, [["early", 10n], ["late", 20n], ["early", 30n]]);
  assertEquals(clock.now(), 100n);
  clock.advance(50n);
  assertEquals(clock.now(), 100n);
  assertEquals(clock.nextExpiry(), undefined);
});

Deno.test("a timer of a test's clock that is due when it is armed expires by itself", async () => {
  using loop = new EventLoop();
  const served = loop.run();
  using clock = new MachineClock(loop, "test", fail);
  clock.start();
  clock.advance(10n);
  const { promise, resolve } = Promise.withResolvers<void>();
  clock.timer(resolve).arm(10n);
  await promise;
  loop.stop();
  await served;
});

Deno.test("a machine's own clock runs with it and cannot be moved", () => {
  using loop = new EventLoop();
  using clock = new MachineClock(loop, "host", fail);
  assertEquals(clock.now(), 0n);
  clock.start();
  assert(clock.now() > 0n);
  assertThrows(() => clock.advance(1n), Error, "moves by itself");
  clock.stop();
  const stopped = clock.now();
  assertEquals(clock.now(), stopped);
});
