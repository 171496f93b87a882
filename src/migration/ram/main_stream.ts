/** Pages as records in the main stream. */
import type { OutgoingChannel } from "../../channel/channel.ts";
import type { RamBlock } from "../../memory/ram_block.ts";
import { RamRecordSender } from "../../native/ram_stream.ts";
import type { StreamWriter } from "../stream/stream_writer.ts";
import type { DirtyRange } from "./dirty_pages.ts";
import type { PageTransport, SentPages } from "./transport.ts";

/** Sends one range after the other, by a thread that writes to the channel. */
export class MainStreamTransport implements PageTransport {
  readonly parallel = 1;
  readonly #writer: StreamWriter;
  readonly #channel: OutgoingChannel;
  readonly #detectZero: boolean;
  readonly #records = new RamRecordSender();
  #lastBlock: RamBlock | undefined;
  #working: Promise<unknown> = Promise.resolve();

  constructor(
    { writer, channel, detectZero }: {
      readonly writer: StreamWriter;
      readonly channel: OutgoingChannel;
      /** Zero pages are looked for. */
      readonly detectZero: boolean;
    },
  ) {
    this.#writer = writer;
    this.#channel = channel;
    this.#detectZero = detectZero;
  }

  async send(range: DirtyRange): Promise<SentPages> {
    const { block, first, end, written } = range;
    if (this.#writer.buffer.length > 0) await this.#channel.write(this.#writer.take());
    const name = block === this.#lastBlock ? undefined : block.name;
    const pages = {
      memory: block.mapping,
      bitmap: range.dirty,
      first,
      end,
      written,
      detectZero: this.#detectZero,
    };
    const sending = this.#channel.writeInBulk((channel) =>
      this.#records.send(channel, pages, name)
    );
    this.#working = sending.catch(() => {});
    const bytes = await sending;
    // A range may hold nothing for this stream (multifd): then the block was not named either.
    if (bytes > 0) this.#lastBlock = block;
    return { bytes, ...this.#records.counts };
  }

  /** Records count in their order. */
  synchronise(): Promise<void> {
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#working;
    this.#records[Symbol.dispose]();
  }
}
