/** RAM as it comes: checks the block list against the machine's and puts pages into place. */
import { PAGE_SIZE, type RamBlock } from "../../memory/ram_block.ts";
import { MigrationError } from "../errors.ts";
import type { RamBlockEntry, RamRecord } from "../stream/ram_records.ts";
import { applyXbzrle } from "../stream/xbzrle.ts";

/** Applies `ram` records to the machine's blocks. */
export class RamReceiver {
  readonly #blocks: ReadonlyMap<string, RamBlock>;
  readonly #requireShared: boolean;

  /**
   * `requireShared`: no pages will come, so that every block must be memory that the process before
   * this one used. `inherited` says which are.
   */
  constructor(
    blocks: readonly RamBlock[],
    requireShared: boolean,
    readonly inherited: (block: RamBlock) => boolean,
  ) {
    this.#blocks = new Map(blocks.map((block) => [block.name, block]));
    this.#requireShared = requireShared;
  }

  /** Applies one record. `bytes` is the stream reader's buffer. */
  apply(record: RamRecord, bytes: Uint8Array): void {
    switch (record.kind) {
      case "blocks":
        this.#checkBlocks(record.blocks);
        break;
      case "page":
        this.#page(record.block, record.offset)
          .set(bytes.subarray(record.data, record.data + PAGE_SIZE));
        break;
      case "zero page": {
        const page = this.#page(record.block, record.offset);
        // Touching a page that is zero already would allocate it.
        if (page.some((byte) => byte !== 0)) page.fill(0);
        break;
      }
      case "xbzrle page":
        applyXbzrle(
          this.#page(record.block, record.offset),
          bytes.subarray(record.data, record.data + record.size),
        );
        break;
      case "multifd flush":
      case "hook":
      case "end of records":
        break;
    }
  }

  #checkBlocks(entries: readonly RamBlockEntry[]): void {
    for (const { name, length } of entries) {
      const block = this.#blocks.get(name);
      if (!block) {
        throw new MigrationError(`Unknown ramblock "${name}", cannot accept migration`);
      }
      block.resize(length);
      if (this.#requireShared && !this.inherited(block)) {
        throw new MigrationError(
          `The RAM block '${name}' was not handed over, and no pages of it come: the guest's ` +
            "memory would be lost",
        );
      }
    }
  }

  #page(entry: RamBlockEntry, offset: number): Uint8Array {
    const block = this.#blocks.get(entry.name);
    if (!block) throw new MigrationError(`Can't find block ${entry.name}`);
    return block.mapping.bytes.subarray(offset, offset + PAGE_SIZE);
  }
}
