/** Sockets and pipes as channels, in one direction or both. */
import type { Descriptor, Fd } from "../native/descriptor.ts";
import { ChannelDescriptor } from "../native/channel.ts";
import { ChannelError, type IncomingChannel, type OutgoingChannel } from "./channel.ts";

/** A connected socket or one end of a pipe. */
export class StreamChannel implements OutgoingChannel, IncomingChannel {
  readonly seekable = false;
  readonly #io: ChannelDescriptor;
  readonly #duplex: boolean;
  /** Bytes that were read to find out what the channel is for. */
  #ahead: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  /** Takes over `descriptor`. `duplex`: it can be read and written. */
  constructor(descriptor: Descriptor, duplex: boolean) {
    this.#io = new ChannelDescriptor(descriptor);
    this.#duplex = duplex;
  }

  get fd(): Fd {
    return this.#io.fd;
  }

  get position(): number {
    return this.#io.position;
  }

  /** The channel itself where it has two directions. Do not dispose it separately. */
  get returnPath(): StreamChannel | undefined {
    return this.#duplex ? this : undefined;
  }

  write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#io.write(bytes);
  }

  writeNow(bytes: Uint8Array<ArrayBuffer>): number {
    return this.#io.writeNow(bytes);
  }

  writeInBulk(operation: (channel: bigint) => Promise<number | bigint>): Promise<number> {
    return this.#io.use(operation, undefined, "Unable to write");
  }

  /** As writeInBulk, for operations that read. Not before what `peek` read ahead was taken. */
  readInBulk(operation: (channel: bigint) => Promise<number | bigint>): Promise<number> {
    return this.#io.use(operation, undefined, "Unable to read");
  }

  read(buffer: Uint8Array<ArrayBuffer>): Promise<number> {
    if (this.#ahead.length === 0) return this.#io.read(buffer);
    const taken = this.#ahead.subarray(0, buffer.length);
    buffer.set(taken);
    this.#ahead = this.#ahead.subarray(taken.length);
    return Promise.resolve(taken.length);
  }

  /** The next `length` bytes, which stay to be read; fewer if the stream ends before. */
  async peek(length: number): Promise<Uint8Array> {
    const more = new Uint8Array(Math.max(length - this.#ahead.length, 0));
    const count = await this.#io.readFully(more);
    const all = new Uint8Array(this.#ahead.length + count);
    all.set(this.#ahead);
    all.set(more.subarray(0, count), this.#ahead.length);
    this.#ahead = all;
    return all.subarray(0, length);
  }

  seek(): void {
    throw new ChannelError("A socket or pipe has no positions to go to");
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  cancel(): void {
    this.#io.cancel();
  }

  [Symbol.dispose](): void {
    this.#io[Symbol.dispose]();
  }
}
