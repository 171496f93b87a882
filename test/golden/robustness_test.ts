import { assert, assertEquals, assertThrows } from "@std/assert";
import { equal } from "@std/assert";
import { StreamReader } from "../../src/migration/stream/stream_reader.ts";
import { knownSection } from "../../src/migration/stream/known_sections.ts";
import { OutOfDataError, VmStateError } from "../../src/vmstate/vmstate.ts";
import { fixture } from "./fixtures.ts";
import { itemsOf, readerOf, rewrite } from "./rewrite.ts";

/** A stream without its description: cpr-exec of the default machine, five blocks, no pages. */
async function smallStream(): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await fixture("cpr-exec.mig");
  const end = Array.from(itemsOf(readerOf(bytes))).find((item) => item.kind === "end of stream");
  if (end === undefined) throw new Error("stream has no end");
  return bytes.slice(0, end.offset + 1);
}

/** A stream with pages of all kinds, up to its first device. */
async function pagesStream(): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await fixture("xbzrle.mig");
  return bytes.slice(0, 200_000);
}

/** What a stream says: its items, with the pages' contents. */
function meaningOf(bytes: Uint8Array<ArrayBuffer>): unknown[] {
  const reader = readerOf(bytes);
  return Array.from(itemsOf(reader), (item) => {
    switch (item.kind) {
      case "configuration":
        return item.configuration;
      case "command":
        return item.command;
      case "device":
        return [item.section, item.state];
      case "ram":
        return "data" in item.record
          ? [item.record, reader.bytes.slice(item.record.data, item.record.data + 4096)]
          : item.record;
      default:
        return item.kind;
    }
  });
}

/** Pseudo-random numbers, the same in every run (xorshift32). */
function* randomNumbers(seed: number): Generator<number, never> {
  let x = seed;
  for (;;) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    yield x >>> 0;
  }
}

Deno.test("a stream that is cut off anywhere gives an error with an offset, and the section if it is in one", async () => {
  const bytes = await smallStream();
  const sections: [number, number, string][] = [];
  for (const item of itemsOf(readerOf(bytes))) {
    if (item.kind !== "device") continue;
    const { idstr, instanceId } = item.section;
    sections.push([item.bodyOffset, item.offset + item.size, `${idstr}/${instanceId}`]);
  }
  for (let length = 0; length < bytes.length; length++) {
    const error = assertThrows(
      () => Array.from(itemsOf(readerOf(bytes.slice(0, length)))),
      VmStateError,
    );
    assert(error.offset !== undefined && error.offset <= length, `${length}: ${error.message}`);
    const section = sections.find(([from, to]) => length >= from && length < to)?.[2];
    if (section !== undefined) assertEquals(error.section, section, `${length}: ${error.message}`);
  }
});

Deno.test("a stream that is still coming is waited for, wherever it is cut off", async () => {
  const bytes = await smallStream();
  const whole = meaningOf(bytes).length;
  const reader = new StreamReader({ devices: knownSection });
  let items = 0;
  for (let length = 0; length < bytes.length; length++) {
    reader.push(bytes.subarray(length, length + 1));
    for (let item = reader.next(); item !== undefined; item = reader.next()) items++;
  }
  reader.end();
  assertEquals(reader.next()?.kind, "end");
  assertEquals(items + 1, whole);
});

Deno.test("a flipped bit gives an error, or what is read is what the altered stream says", async () => {
  const original = await smallStream();
  const random = randomNumbers(1);
  const outcomes = { error: 0, faithful: 0, meaningless: 0, "equal in meaning": 0 };
  for (let round = 0; round < 8000; round++) {
    const altered = original.slice();
    const at = round % original.length;
    altered[at] = (altered[at] ?? 0) ^ (1 << (random.next().value & 7));
    outcomes[outcomeOf(altered, original)]++;
  }
  // Most bytes are registers, in which any value is possible.
  assert(outcomes.error > 1000 && outcomes.faithful > 1000 && outcomes.meaningless > 10);
  assert(outcomes["equal in meaning"] < 20, JSON.stringify(outcomes));
});

Deno.test("flipped bits among page records give an error or another content, never anything else", async () => {
  const bytes = await pagesStream();
  const random = randomNumbers(2);
  for (let round = 0; round < 300; round++) {
    const altered = bytes.slice();
    // Headers are rare among pages: aim at the first bytes of a record.
    const at = random.next().value % 2000;
    altered[at] = (altered[at] ?? 0) ^ (1 << (random.next().value & 7));
    try {
      Array.from(itemsOf(readerOf(altered)));
    } catch (error) {
      if (!(error instanceof VmStateError)) throw error;
    }
  }
});

Deno.test("bytes at random are refused at once", () => {
  const random = randomNumbers(3);
  const bytes = Uint8Array.from({ length: 4096 }, () => random.next().value & 0xff);
  const error = assertThrows(() => Array.from(itemsOf(readerOf(bytes))), VmStateError);
  assertEquals(error.offset, 0);
});

/** Reads an altered stream and says what became of it. Fails the test if that cannot be accepted. */
function outcomeOf(altered: Uint8Array<ArrayBuffer>, original: Uint8Array<ArrayBuffer>) {
  let again;
  try {
    again = rewrite(readerOf(altered), { size: altered.length });
  } catch (error) {
    if (!(error instanceof VmStateError)) throw error;
    assert(error.offset !== undefined, error.message);
    assert(!(error instanceof OutOfDataError) || error.missing > 0);
    return "error";
  }
  if (equal(again, altered)) return "faithful";
  if (equal(again, original)) return "meaningless";
  assertEquals(meaningOf(again), meaningOf(altered));
  return "equal in meaning";
}
