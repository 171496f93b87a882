/**
 * Channels: what a migration's bytes go through. A channel knows nothing of what the bytes mean.
 * Which channel an address gives is decided in address.ts.
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
  /** Goes on at another file offset. Throws on a channel that is not seekable. */
  seek(position: number): void;
  /** Resolves when all bytes are where they belong: on disk as far as asked for, or sent. */
  finish(): Promise<void>;
  /** Makes operations under way, on whatever thread, fail soon. */
  cancel(): void;
}

/** Bytes on their way in. */
export interface IncomingChannel extends Disposable {
  readonly fd: Fd;
  readonly seekable: boolean;
  /** Reads some bytes: the count, 0 at the end. */
  read(buffer: Uint8Array<ArrayBuffer>): Promise<number>;
  /** Goes on at another file offset. Throws on a channel that is not seekable. */
  seek(position: number): void;
  cancel(): void;
}

/** An address that names no usable channel. The message is QEMU's where it has one. */
export class ChannelError extends Error {
  override readonly name = "ChannelError";
}
