/** The list of RAM blocks at the beginning of a stream, compared with the machine's. */
import type { RamBlock } from "../../memory/ram_block.ts";
import { MigrationError } from "../errors.ts";
import type { RamBlockEntry } from "../stream/ram_records.ts";

/** A block, and what the list says of it. */
export interface ListedBlock {
  readonly block: RamBlock;
  readonly entry: RamBlockEntry;
}

/**
 * The machine's blocks in the order of the list, resized to what it says. `inherited` is given if no pages
 * will come: it says which blocks are memory that the process before this one used, as all have to be.
 * Throws what does not fit.
 */
export function matchBlocks(
  entries: readonly RamBlockEntry[],
  blocks: readonly RamBlock[],
  inherited: ((block: RamBlock) => boolean) | undefined,
): ListedBlock[] {
  const missing = blocks.find(({ name }) => !entries.some((entry) => entry.name === name));
  if (missing !== undefined) {
    throw new MigrationError(
      `the list of RAM blocks lacks '${missing.name}', which this machine has: ` +
        "configure both sides alike",
    );
  }
  return entries.map((entry) => {
    const { name, length } = entry;
    const block = blocks.find((candidate) => candidate.name === name);
    if (!block) throw new MigrationError(`Unknown ramblock "${name}", cannot accept migration`);
    block.resize(length);
    if (inherited !== undefined && !inherited(block)) {
      throw new MigrationError(
        `The RAM block '${name}' was not handed over, and no pages of it come: the guest's ` +
          "memory would be lost",
      );
    }
    return { block, entry };
  });
}
