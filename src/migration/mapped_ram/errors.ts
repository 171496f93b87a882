/** What could not be moved between guest memory and a file, named by block, file and offsets. */
import { PAGE_SIZE } from "../../memory/ram_block.ts";
import { Errno, errnoMessage } from "../../native/errors.ts";
import type { PageTransferError } from "../../native/mapped_ram.ts";
import { MigrationError } from "../errors.ts";

/** The error for a page of `block`, whose page 0 lies at `pagesOffset` of the file. */
export function pageError(
  cause: PageTransferError,
  verb: "write" | "read",
  block: string,
  file: string,
  pagesOffset: number,
): MigrationError {
  const hex = (value: number) => `0x${value.toString(16)}`;
  const offset = cause.page * PAGE_SIZE;
  const reason = cause.errno === Errno.ENODATA ? "the file ends there" : errnoMessage(cause.errno);
  const side = verb === "write" ? "to" : "from";
  return new MigrationError(
    `Could not ${verb} the page at ${hex(offset)} of block '${block}' ${side} '${file}' at offset ${
      hex(pagesOffset + offset)
    }: ${reason}`,
    { cause },
  );
}
