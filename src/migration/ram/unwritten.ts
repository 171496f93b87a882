/** Which pages of a block are zero because nobody ever wrote them: known without touching them. */
import type { RamBlock } from "../../memory/ram_block.ts";
import type { PageBitmap } from "../../native/pages.ts";

/**
 * Clears the pages in [first, end) of `bitmap` that were never written. It tells what was true at
 * some moment of the call: with a running guest, begin to record its writes before.
 */
export function dropUnwritten(
  block: RamBlock,
  bitmap: PageBitmap,
  first: number,
  end: number,
): Promise<void> {
  const { backing, mapping } = block;
  switch (backing.kind) {
    case "private":
      return bitmap.dropUntouched(mapping, first, end);
    case "descriptor":
      return bitmap.dropFileHoles(backing.descriptor.fd, 0, first, end);
    case "path":
      return bitmap.dropFileHoles(backing.descriptor.fd, backing.offset, first, end);
    case "private file":
      // A hole of the file may have been written in this process's copy.
      return Promise.resolve();
  }
}
