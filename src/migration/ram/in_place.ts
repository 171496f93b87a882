/** RAM that stays where it is (cpr-exec, cpr-transfer): the stream lists the blocks, without pages. */
import type { RamBlock } from "../../memory/ram_block.ts";
import { RAM_SECTION_ID } from "../device_state.ts";
import type { StreamWriter } from "../stream/stream_writer.ts";
import { emptyRamStatistics, type RamSender } from "./sender.ts";

/** Lists blocks only. */
export class InPlaceSender implements RamSender {
  readonly statistics = emptyRamStatistics();
  readonly #writer: StreamWriter;
  readonly #blocks: readonly RamBlock[];
  readonly #passBegan: (pass: number) => void;

  constructor(
    writer: StreamWriter,
    blocks: readonly RamBlock[],
    passBegan: (pass: number) => void,
  ) {
    this.#writer = writer;
    this.#blocks = blocks;
    this.#passBegan = passBegan;
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
    // As QEMU counts: once at the beginning and once for the only pass.
    this.statistics.dirtySyncCount = 2;
    this.#passBegan(2);
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
