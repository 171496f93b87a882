/** RAM as page records in the main stream, sent while the machine is stopped. */
import { PAGE_SIZE, type RamBlock } from "../../memory/ram_block.ts";
import { RAM_SECTION_ID } from "../device_state.ts";
import type { StreamWriter } from "../stream/stream_writer.ts";
import { emptyRamStatistics, type RamSender } from "./sender.ts";

/** How much is collected before it is sent on. */
const BATCH = 1 << 20;

/** Sends every page once. `flush` sends what the writer has collected. */
export class PageStreamSender implements RamSender {
  readonly statistics = emptyRamStatistics();
  readonly #writer: StreamWriter;
  readonly #blocks: readonly RamBlock[];
  readonly #flush: () => Promise<void>;

  constructor(writer: StreamWriter, blocks: readonly RamBlock[], flush: () => Promise<void>) {
    this.#writer = writer;
    this.#blocks = blocks;
    this.#flush = flush;
  }

  begin(): Promise<void> {
    this.#writer.beginRam("start", RAM_SECTION_ID);
    this.#writer.ram.blocks(
      this.#blocks.map(({ name, usedLength }) => ({ name, length: usedLength })),
    );
    this.#writer.endRam(RAM_SECTION_ID);
    return Promise.resolve();
  }

  pass(): Promise<boolean> {
    return Promise.resolve(true);
  }

  async finish(): Promise<void> {
    this.#writer.beginRam("end", RAM_SECTION_ID);
    for (const { name, mapping, usedLength } of this.#blocks) {
      const words = new BigUint64Array(mapping.bytes.buffer);
      for (let offset = 0; offset < usedLength; offset += PAGE_SIZE) {
        const page = words.subarray(offset / 8, (offset + PAGE_SIZE) / 8);
        if (page.every((word) => word === 0n)) this.#writer.ram.zeroPage(name, offset);
        else {
          this.#writer.ram.page(name, offset, mapping.bytes.subarray(offset, offset + PAGE_SIZE));
        }
        if (this.#writer.buffer.length > BATCH) await this.#flush();
      }
    }
    this.#writer.endRam(RAM_SECTION_ID);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
