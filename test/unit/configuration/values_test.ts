import { assertEquals } from "@std/assert";
import {
  isIdentifier,
  parseBoolean,
  parseInteger,
  parseSize,
} from "../../../src/configuration/values.ts";

Deno.test("switches are written on, yes, true or y, and their opposites", () => {
  assertEquals(["on", "yes", "true", "y"].map(parseBoolean), [true, true, true, true]);
  assertEquals(["off", "no", "false", "n"].map(parseBoolean), [false, false, false, false]);
  assertEquals(["", "ON", "1", "maybe"].map(parseBoolean), Array(4).fill(undefined));
});

Deno.test("integers are decimal, hexadecimal or octal", () => {
  assertEquals(parseInteger("42"), 42n);
  assertEquals(parseInteger("-1"), -1n);
  assertEquals(parseInteger("0x10"), 16n);
  assertEquals(parseInteger("010"), 8n);
  assertEquals(parseInteger("18446744073709551615"), (1n << 64n) - 1n);
  for (const text of ["", "x", "1x", "0x", "08", "1.5", "1e3", "--1"]) {
    assertEquals(parseInteger(text), undefined, text);
  }
});

Deno.test("sizes have fractions and suffixes, or are hexadecimal", () => {
  const bytes = (text: string, unit?: "B" | "M") => {
    const result = parseSize(text, unit);
    return result.kind === "size" ? result.bytes : result.kind;
  };
  assertEquals(bytes("512"), 512);
  assertEquals(bytes("512", "M"), 512 * 2 ** 20);
  assertEquals(bytes("1k"), 1024);
  assertEquals(bytes("1.5G"), 1.5 * 2 ** 30);
  assertEquals(bytes(".5G", "M"), 2 ** 29);
  assertEquals(bytes("1.G"), 2 ** 30);
  assertEquals(bytes("10B", "M"), 10);
  assertEquals(bytes("0x10"), 16);
  assertEquals(bytes("2T"), 2 * 2 ** 40);
  assertEquals(bytes("16E"), "out of range");
  assertEquals(bytes("-1"), "out of range");
  for (const text of ["", ".", "x", "1x", "1KK", "1e3"]) assertEquals(bytes(text), "invalid", text);
});

Deno.test("identifiers start with a letter", () => {
  assertEquals(["a", "net0", "s.0", "a-b_c"].map(isIdentifier), [true, true, true, true]);
  assertEquals(["", "0a", "-a", "a b", "a,b", "#a"].map(isIdentifier), Array(6).fill(false));
});
