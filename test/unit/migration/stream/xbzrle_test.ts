import { assertEquals, assertThrows } from "@std/assert";
import { StreamError } from "../../../../src/migration/stream/errors.ts";
import { applyXbzrle } from "../../../../src/migration/stream/xbzrle.ts";

/** A page of fives after the difference was applied. */
function applied(...encoded: number[]): Uint8Array {
  const page = new Uint8Array(4096).fill(5);
  applyXbzrle(page, Uint8Array.from(encoded));
  return page;
}

Deno.test("runs of unchanged and new bytes alternate; the rest is unchanged", () => {
  const expected = new Uint8Array(4096).fill(5);
  expected.set([1, 2], 3);
  expected[300] = 9;
  // 3 unchanged, 2 new, 295 unchanged (two bytes, low 7 bits first), 1 new.
  assertEquals(applied(3, 2, 1, 2, 0xa7, 0x02, 1, 9), expected);
  assertEquals(applied(), new Uint8Array(4096).fill(5));
});

Deno.test("a whole page can be new", () => {
  const encoded = [0, 0x80, 0x20, ...new Array(4096).fill(6)];
  assertEquals(applied(...encoded), new Uint8Array(4096).fill(6));
});

for (
  const [what, encoded] of [
    ["a run's length is cut off", [0x80]],
    ["there is no run of new bytes", [3]],
    ["the new bytes are cut off", [3, 4, 1, 2]],
    ["a run of new bytes is empty", [3, 0]],
    ["a later run of unchanged bytes is empty", [3, 1, 1, 0, 1, 1]],
    ["a length has three bytes", [0x80, 0x80, 1, 1, 1]],
    ["the runs reach beyond the page", [0xff, 0x1f, 2, 1, 1]],
  ] as const
) {
  Deno.test(`refused: ${what}`, () => {
    assertThrows(() => applied(...encoded), StreamError, "decode error");
  });
}
