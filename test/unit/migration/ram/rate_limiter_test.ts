import { assert, assertEquals } from "@std/assert";
import { RateLimiter } from "../../../../src/migration/ram/rate_limiter.ts";

Deno.test("no more than the rate is sent, whatever the pieces, and a new rate counts from the next slice", async () => {
  const signal = new AbortController().signal;
  let rate = 1_000_000;
  const limiter = new RateLimiter(() => rate, signal);
  const start = performance.now();
  let sent = 0;
  const sendFor = async (ms: number) => {
    const until = performance.now() + ms;
    while (performance.now() < until) {
      const bytes = Math.min(await limiter.quota(), 7000);
      limiter.use(bytes);
      sent += bytes;
    }
  };
  await sendFor(350);
  const slices = Math.ceil((performance.now() - start) / 100) + 1;
  assert(sent <= slices * 100_000, `${sent} bytes in ${slices} slices`);
  const before = sent;
  rate = 10_000_000;
  await sendFor(250);
  assert(sent - before > 100_000 * 4, `${sent - before} bytes after the rate was raised`);
});

Deno.test("what was sent beyond a slice's share is taken from the following ones", async () => {
  const limiter = new RateLimiter(() => 1_000_000, new AbortController().signal);
  limiter.use(350_000);
  const start = performance.now();
  await limiter.quota();
  assert(performance.now() - start > 200);
});

Deno.test("without a rate nothing waits; a cancelled migration does not either", async () => {
  const unlimited = new RateLimiter(() => 0, new AbortController().signal);
  unlimited.use(1e12);
  assertEquals(await unlimited.quota(), Infinity);

  const cancelled = new AbortController();
  const limiter = new RateLimiter(() => 1, cancelled.signal);
  limiter.use(1e9);
  const waiting = limiter.quota();
  cancelled.abort();
  assertEquals(await waiting, Infinity);
});
