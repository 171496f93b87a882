/** Checksums of what a block holds, wherever a file keeps it. */
import { createHash } from "node:crypto";
import { PAGE_SIZE } from "../memory/ram_block.ts";
import type { BlockPages, ReadFully } from "./block_pages.ts";

/** Pages read at once. */
const BATCH = 256;

/** SHA-256 of the block's content from its first to its last byte, as lower-case hex. */
export function blockChecksum(pages: BlockPages, readFully: ReadFully): string {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(BATCH * PAGE_SIZE);
  const zeros = new Uint8Array(BATCH * PAGE_SIZE);
  for (const { first, count, kind } of pages.runs()) {
    for (let page = first; page < first + count; page += BATCH) {
      const size = Math.min(first + count - page, BATCH) * PAGE_SIZE;
      if (kind === "stored") pages.read(page, buffer.subarray(0, size), readFully);
      hash.update((kind === "stored" ? buffer : zeros).subarray(0, size));
    }
  }
  return hash.digest("hex");
}
