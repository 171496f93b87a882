/** RAM that stays where it is (cpr-exec, cpr-transfer): the stream lists the blocks, without pages. */
import { RAM_SECTION_ID } from "../device_state.ts";
import type { StreamWriter } from "../stream/stream_writer.ts";
import { blockListing, emptyRamStatistics, type RamListing, type RamSender } from "./sender.ts";

/** Lists blocks only. */
export class InPlaceSender implements RamSender {
  readonly statistics = emptyRamStatistics();
  readonly #writer: StreamWriter;
  readonly #listings: readonly RamListing[];

  constructor(
    writer: StreamWriter,
    listings: readonly RamListing[],
  ) {
    this.#writer = writer;
    this.#listings = listings;
  }

  begin(): Promise<void> {
    this.#writer.beginRam("start", RAM_SECTION_ID);
    this.#writer.ram.blocks(this.#listings.map(blockListing));
    this.#writer.endRam(RAM_SECTION_ID);
    return Promise.resolve();
  }

  pass(): Promise<boolean> {
    // As QEMU counts: once at the beginning and once for the only pass.
    this.statistics.dirtySyncCount = 2;
    return Promise.resolve(true);
  }

  finish(): Promise<void> {
    this.#writer.beginRam("end", RAM_SECTION_ID);
    this.#writer.endRam(RAM_SECTION_ID);
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
