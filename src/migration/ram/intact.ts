/** Whether the guest's memory is all there. */
import type { RamBlock } from "../../memory/ram_block.ts";
import { MigrationError } from "../errors.ts";

/**
 * Throws a MigrationError if a block has lost pages: zeros have taken their place, which nobody may run a
 * guest on, here or elsewhere.
 */
export function requireIntact(blocks: readonly RamBlock[]): void {
  const lost = blocks.find(({ mapping }) => mapping.lost);
  if (lost === undefined) return;
  throw new MigrationError(`the memory '${lost.name}' is not whole: its file was cut off`);
}
