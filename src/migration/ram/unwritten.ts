/** Which pages of a block are zero because nobody ever wrote them: known without touching them. */
import type { RamBlock } from "../../memory/ram_block.ts";
import type { PageBitmap } from "../../native/pages.ts";

/**
 * Clears the pages in [first, end) of `bitmap` that were never written. It says what was true at
 * some moment of the call: with a running guest, begin to record its writes before. Resolves with the
 * first page from `end` on that may never have been written: those between were.
 */
export async function dropUnwritten(
  block: RamBlock,
  bitmap: PageBitmap,
  first: number,
  end: number,
): Promise<number> {
  const { backing, mapping } = block;
  switch (backing.kind) {
    case "private":
      await bitmap.dropUntouched(mapping, first, end);
      return end;
    case "descriptor":
      return await bitmap.dropFileHoles(backing.descriptor.fd, 0, first, end);
    case "path":
      return await bitmap.dropFileHoles(backing.descriptor.fd, backing.offset, first, end);
    case "private file":
      // A hole of the file may have been written in this process's copy.
      return end;
  }
}
