/** Streams that earlier releases wrote are read, and molt still writes them byte for byte. */
import { assertEquals } from "@std/assert";
import { releasedStream, releasedStreamNames, releases } from "./releases.ts";
import { checkRewritten, itemsOf, readerOf } from "./rewrite.ts";

for (const release of releases) {
  for (const name of releasedStreamNames) {
    Deno.test(`molt ${release}, ${name}: parses to its last byte, and is written the same`, async () => {
      const bytes = await releasedStream(release, name);
      const items = Array.from(itemsOf(readerOf(bytes)), (item) => [item.kind, item.offset]);
      assertEquals(items.at(-1), ["end", bytes.length]);
      checkRewritten(bytes);
    });
  }
}
