import { assertEquals, assertThrows } from "@std/assert";
import {
  array,
  OutOfDataError,
  StateReader,
  StateWriter,
  struct,
  u64,
  VmStateError,
  words,
} from "../../../src/vmstate/vmstate.ts";
import { allZero } from "../../../src/vmstate/words.ts";

const values = [0x0123456789abcdefn, 0n, 0xffffffffffffffffn];

const asWords = struct({
  name: "bank",
  version: 1,
  fields: { registers: words(array(u64(), 3)) },
});
const oneByOne = struct({ name: "bank", version: 1, fields: { registers: array(u64(), 3) } });

function bytesOf(encode: (writer: StateWriter) => void): Uint8Array<ArrayBuffer> {
  const writer = new StateWriter(1);
  encode(writer);
  return writer.bytes.slice();
}

Deno.test("words lie in the stream and are described as the integers that they stand for", () => {
  const state = { registers: BigUint64Array.from(values) };
  const bytes = bytesOf((writer) => asWords.encode(writer, state));
  assertEquals(bytes, bytesOf((writer) => oneByOne.encode(writer, { registers: values })));
  assertEquals(asWords.describe(state), oneByOne.describe({ registers: values }));
  const reader = new StateReader(bytes, { final: true });
  assertEquals(asWords.decode(reader, 1), state);
  assertEquals(reader.remaining, 0);
});

Deno.test("words: too few bytes and another count are refused", () => {
  const short = new StateReader(new Uint8Array(3 * 8 - 1), { final: true });
  assertThrows(() => asWords.decode(short, 1), OutOfDataError);
  const two = { registers: new BigUint64Array(2) };
  assertThrows(
    () => asWords.encode(new StateWriter(), two),
    VmStateError,
    "2 words where 3 are expected",
  );
});

Deno.test("allZero looks at both halves of every word", () => {
  assertEquals(allZero(new BigUint64Array(4)), true);
  assertEquals(allZero(BigUint64Array.of(0n, 0n, 1n)), false);
  assertEquals(allZero(BigUint64Array.of(1n << 63n, 0n)), false);
});
