/**
 * Channels: what a migration's bytes go through. A channel knows nothing of what the bytes mean.
 *
 *   address.ts      what a URI or a structured address says
 *   outgoing.ts     an address -> a channel to write to
 *   incoming.ts     an address -> a listener -> the channels to read from
 */
import type { Fd } from "../native/descriptor.ts";

/** Bytes on their way out. */
export interface OutgoingChannel extends Disposable {
  /** For bulk writes by the C library. A file's position is not kept there: see `position`. */
  readonly fd: Fd;
  /** A file: bytes have offsets, and may be written in any order. */
  readonly seekable: boolean;
  /** File offset of the next byte written; counts bytes on other channels. */
  readonly position: number;
  /** Writes all of `bytes`, which must stay as they are until it is done. */
  write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Writes at once what there is room for, which may be nothing. Returns the count. */
  writeNow(bytes: Uint8Array<ArrayBuffer>): number;
  /**
   * Has the C library write, on another thread, from `position` on. `operation` gets the address of a
   * struct molt_channel and resolves with the count of bytes written or a negative errno; what it
   * uses must stay alive until then. Resolves with the count.
   */
  writeInBulk(operation: (channel: bigint) => Promise<number | bigint>): Promise<number>;
  /** Goes on at another file offset. Throws on a channel that is not seekable. */
  seek(position: number): void;
  /** What the other side sends back on the same connection; `undefined` if nothing can come back. */
  readonly returnPath: IncomingChannel | undefined;
  /** Resolves when all bytes are where they belong: on disk as far as asked for, or sent. */
  finish(): Promise<void>;
  /** Makes operations under way, on whatever thread, fail soon. */
  cancel(): void;
}

/** Bytes on their way in. */
export interface IncomingChannel extends Disposable {
  readonly fd: Fd;
  readonly seekable: boolean;
  /** File offset of the next byte read; it means nothing on a channel that is not seekable. */
  readonly position: number;
  /** Reads some bytes: the count, 0 at the end. */
  read(buffer: Uint8Array<ArrayBuffer>): Promise<number>;
  /**
   * As {@linkcode OutgoingChannel.writeInBulk}, for operations that read; a file's from `position` on.
   */
  readInBulk(operation: (channel: bigint) => Promise<number | bigint>): Promise<number>;
  /** Goes on at another file offset. Throws on a channel that is not seekable. */
  seek(position: number): void;
  /** The way back on the same connection; `undefined` if there is none. */
  readonly returnPath: OutgoingChannel | undefined;
  cancel(): void;
}

/** An address that names no usable channel, or a channel that failed. QEMU's text where it has one. */
export class ChannelError extends Error {
  override readonly name = "ChannelError";
}
