import { assertEquals } from "@std/assert";
import { fixture, streamNames, streamOffset } from "./fixtures.ts";
import { checkRewritten, itemsOf, readerOf } from "./rewrite.ts";

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
    checkRewritten(await fixture(name), offset);
  });
}
