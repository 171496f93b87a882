import { assertEquals, assertThrows } from "@std/assert";
import { evaluate, ExpressionError } from "../../../../src/monitor/hmp/expression.ts";

function value(text: string): bigint {
  return evaluate(text, 0, () => undefined).value;
}

Deno.test("numbers are 64 bits wide, however many zeros stand before them", () => {
  assertEquals(value("18446744073709551615"), -1n);
  assertEquals(value(`0x${"0".repeat(1000)}ff`), 0xffn);
  for (const text of ["18446744073709551616", "1".repeat(1 << 20), `0x${"f".repeat(1 << 20)}`]) {
    assertThrows(() => value(text), ExpressionError, "number too large");
  }
});

Deno.test("expressions nest as deep as people write them, and no deeper", () => {
  assertEquals(value(`${"(".repeat(100)}7${")".repeat(100)}`), 7n);
  assertEquals(value(Array(10_000).fill("1").join("+")), 10_000n);
  for (const text of ["(".repeat(1 << 16), "-".repeat(1 << 16)]) {
    assertThrows(() => value(text), ExpressionError, "nested too deeply");
  }
});
