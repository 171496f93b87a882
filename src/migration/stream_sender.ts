/** Sends what a stream's writer has written: all of it, or at once what there is room for. */
import type { OutgoingChannel } from "../channel/channel.ts";
import type { StreamWriter } from "./stream/stream_writer.ts";

/** The way from a writer to a channel. */
export class StreamSender {
  readonly #writer: StreamWriter;
  readonly #channel: OutgoingChannel;
  /** What comes before what the writer has. */
  #unsent: Uint8Array<ArrayBuffer> | undefined;

  constructor(writer: StreamWriter, channel: OutgoingChannel) {
    this.#writer = writer;
    this.#channel = channel;
  }

  /** Sends everything. */
  async flush(): Promise<void> {
    const unsent = this.#unsent;
    this.#unsent = undefined;
    if (unsent !== undefined) await this.#channel.write(unsent);
    await this.#channel.write(this.#writer.take());
  }

  /** Sends what there is room for, without giving way to anything else that waits to be done. */
  sendWhatFits(): void {
    if (this.#unsent !== undefined) return;
    const bytes = this.#writer.take();
    const count = this.#channel.writeNow(bytes);
    // The writer uses the memory again.
    if (count < bytes.length) this.#unsent = bytes.slice(count);
  }
}
