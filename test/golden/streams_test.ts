import { assertEquals } from "@std/assert";
import { fixture, streamNames, streamOffset } from "./fixtures.ts";
import { itemsOf, readerOf, rewrite } from "./rewrite.ts";

for (const name of streamNames()) {
  const offset = streamOffset(name);

  Deno.test(`${name}: parses to its last byte`, async () => {
    const bytes = await fixture(name);
    const items = Array.from(
      itemsOf(readerOf(bytes, { offset })),
      (item) => [item.kind, item.offset],
    );
    assertEquals(items.at(-1), ["end", bytes.length]);
  });

  Deno.test(`${name}: written again from what was read, it is the same`, async () => {
    const bytes = await fixture(name);
    const again = rewrite(readerOf(bytes, { offset }), { offset, size: bytes.length });
    for (const [from, to] of mappedAreas(bytes, offset)) bytes.fill(0, from, to);
    bytes.fill(0, 0, offset);
    assertSameBytes(again, bytes);
  });
}

/** Bitmaps and pages of mapped-ram: where the stream itself has a hole. */
function mappedAreas(bytes: Uint8Array<ArrayBuffer>, offset: number): [number, number][] {
  const areas: [number, number][] = [];
  for (const item of itemsOf(readerOf(bytes, { offset }))) {
    if (item.kind !== "ram" || item.record.kind !== "blocks") continue;
    for (const { mapped, length } of item.record.blocks) {
      if (mapped !== undefined) areas.push([mapped.bitmapOffset, mapped.pagesOffset + length]);
    }
  }
  return areas;
}

/** Compares quickly, and says where the first difference is. */
function assertSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length);
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  if (at >= 0) {
    assertEquals(actual.slice(at, at + 64), expected.slice(at, at + 64), `at 0x${at.toString(16)}`);
  }
}
