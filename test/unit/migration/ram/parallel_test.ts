import { assertEquals, assertRejects } from "@std/assert";
import { inParallel } from "../../../../src/migration/ram/parallel.ts";

Deno.test("so many things are worked on at a time, each once", async () => {
  const things = [1, 2, 3, 4, 5, 6, 7].values();
  const done: number[] = [];
  let [now, most] = [0, 0];
  await inParallel(3, () => things.next().value, async (thing) => {
    most = Math.max(most, ++now);
    await Promise.resolve();
    now--;
    done.push(thing);
  });
  assertEquals(done.sort(), [1, 2, 3, 4, 5, 6, 7]);
  assertEquals(most, 3);
});

Deno.test("after a failure nothing is begun, and what is under way ends first", async () => {
  const things = [1, 2, 3, 4, 5, 6].values();
  const slow = Promise.withResolvers<void>();
  const ended: number[] = [];
  const all = inParallel(2, () => things.next().value, async (thing) => {
    if (thing === 2) throw new Error("the second");
    await slow.promise;
    ended.push(thing);
  });
  let settled = false;
  all.catch(() => settled = true);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(settled, false);
  slow.resolve();
  await assertRejects(() => all, Error, "the second");
  assertEquals(ended, [1]);
});
