import { assertEquals } from "@std/assert";
import { AutoConverge } from "../../../../src/migration/ram/auto_converge.ts";

const MEBIBYTE_PAGES = 256;
const MEBIBYTE = 1 << 20;

/** A second passes for what is tested. */
function withClock(test: (advance: (ms: number) => void) => void): void {
  const real = performance.now;
  let now = 1000;
  performance.now = () => now;
  try {
    test((ms) => {
      now += ms;
    });
  } finally {
    performance.now = real;
  }
}

function newThrottle() {
  return { percentage: 0, [Symbol.dispose]() {} };
}

const parameters = {
  triggerThreshold: 50,
  initial: 20,
  increment: 10,
  tailslow: false,
  maximum: 35,
};

Deno.test("auto-converge throttles in steps when two periods in a row dirtied too much", () => {
  withClock((advance) => {
    const throttle = newThrottle();
    const autoConverge = new AutoConverge(throttle, () => parameters);
    let sent = 0;
    /** A period in which so many MiB are dirtied and sent. */
    const period = (dirtied: number, sentNow: number) => {
      advance(1000);
      sent += sentNow * MEBIBYTE;
      autoConverge.synchronised(dirtied * MEBIBYTE_PAGES, sent);
      return throttle.percentage;
    };
    assertEquals(period(60, 100), 0);
    assertEquals(period(60, 100), 20);
    assertEquals(period(60, 100), 20);
    assertEquals(period(60, 100), 30);
    assertEquals([period(60, 100), period(60, 100)], [30, 35]);
    assertEquals([period(10, 100), period(10, 100)], [35, 35]);
  });
});

Deno.test("auto-converge looks at periods of at least a second, however often is synchronised", () => {
  withClock((advance) => {
    const throttle = newThrottle();
    const autoConverge = new AutoConverge(throttle, () => parameters);
    for (let i = 1; i <= 19; i++) {
      advance(100);
      autoConverge.synchronised(10 * MEBIBYTE_PAGES, i * MEBIBYTE);
    }
    assertEquals(throttle.percentage, 0);
    advance(100);
    autoConverge.synchronised(10 * MEBIBYTE_PAGES, 20 * MEBIBYTE);
    assertEquals(throttle.percentage, 20);
  });
});

Deno.test("cpu-throttle-tailslow takes no more than is needed", () => {
  withClock((advance) => {
    const throttle = newThrottle();
    const autoConverge = new AutoConverge(throttle, () => ({ ...parameters, tailslow: true }));
    let sent = 0;
    const period = (dirtied: number) => {
      advance(1000);
      sent += 100 * MEBIBYTE;
      autoConverge.synchronised(dirtied * MEBIBYTE_PAGES, sent);
      return throttle.percentage;
    };
    assertEquals([period(60), period(60)], [0, 20]);
    // Of the 80 % that it runs it may keep 50/52: 3 % are taken.
    assertEquals([period(52), period(52)], [20, 23]);
  });
});
