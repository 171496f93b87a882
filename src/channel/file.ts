/** Files as channels, from an offset on. */
import type { Descriptor, Fd } from "../native/descriptor.ts";
import { ChannelDescriptor } from "../native/channel.ts";
import { openFile, OpenFlags, readAt, truncate, writeAt } from "../native/file.ts";
import type { IncomingChannel, OutgoingChannel } from "./channel.ts";

/** A file that is written. */
export class OutgoingFile implements OutgoingChannel {
  readonly seekable = true;
  readonly returnPath = undefined;
  readonly #io: ChannelDescriptor;

  /** Takes over `descriptor`; writing starts at `offset`. */
  constructor(descriptor: Descriptor, offset = 0) {
    this.#io = new ChannelDescriptor(descriptor, offset);
  }

  /** Creates or empties the file at `path` beyond `offset`, readable by its owner only. */
  static create(path: string, offset = 0): OutgoingFile {
    const descriptor = openFile(path, OpenFlags.readWrite | OpenFlags.create, 0o600);
    try {
      truncate(descriptor.fd, offset);
      return new OutgoingFile(descriptor, offset);
    } catch (error) {
      descriptor[Symbol.dispose]();
      throw error;
    }
  }

  get fd(): Fd {
    return this.#io.fd;
  }

  get position(): number {
    return this.#io.position;
  }

  write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    writeAt(this.fd, bytes, this.position);
    this.seek(this.position + bytes.length);
    return Promise.resolve();
  }

  writeInBulk(operation: (channel: bigint) => Promise<number | bigint>): Promise<number> {
    return this.#io.use(operation, undefined, "Unable to write to file");
  }

  seek(position: number): void {
    this.#io.seek(position);
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

/** A file that is read. */
export class IncomingFile implements IncomingChannel {
  readonly seekable = true;
  readonly returnPath = undefined;
  readonly #descriptor: Descriptor;
  #position: number;

  /** Takes over `descriptor`; reading starts at `offset`. */
  constructor(descriptor: Descriptor, offset = 0) {
    this.#descriptor = descriptor;
    this.#position = offset;
  }

  static open(path: string, offset = 0): IncomingFile {
    return new IncomingFile(openFile(path, OpenFlags.readOnly), offset);
  }

  get fd(): Fd {
    return this.#descriptor.fd;
  }

  read(buffer: Uint8Array<ArrayBuffer>): Promise<number> {
    const count = readAt(this.fd, buffer, this.#position);
    this.#position += count;
    return Promise.resolve(count);
  }

  seek(position: number): void {
    this.#position = position;
  }

  cancel(): void {}

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
  }
}
