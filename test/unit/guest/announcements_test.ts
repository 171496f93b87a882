import { assertEquals } from "@std/assert";
import { roundDelay } from "../../../src/guest/announcements.ts";

Deno.test("the time between rounds grows by the step, up to the maximum", () => {
  const parameters = { initial: 50, max: 550, rounds: 5, step: 100 };
  assertEquals([4, 3, 2, 1].map((left) => roundDelay(parameters, left)), [50, 150, 250, 350]);
  assertEquals(roundDelay({ ...parameters, max: 200 }, 1), 200);
  assertEquals(roundDelay({ ...parameters, initial: -1000 }, 4), 0);
});

Deno.test("no time is longer than the runtime's timers take: it would be none at all", () => {
  const forever = { initial: 2 ** 40, max: 2 ** 50, rounds: 9, step: 2 ** 45 };
  assertEquals(roundDelay(forever, 3), 2 ** 31 - 1);
});
