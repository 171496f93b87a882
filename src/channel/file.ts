/**
 * Files as channels, from an offset on: main stream, and a way in for threads that move pages. A disk may
 * make one wait, and so may who serves a network file system: threads read and write.
 */
import { ChannelCancelled, ChannelDescriptor } from "../native/channel.ts";
import type { Descriptor, Fd } from "../native/descriptor.ts";
import { Errno, SystemError } from "../native/errors.ts";
import {
  dataSync,
  openFile,
  OpenFlags,
  type OpenPath,
  seek,
  Whence,
  writeAt,
} from "../native/file.ts";
import { ChannelError, type IncomingChannel, type OutgoingChannel } from "./channel.ts";
import { asNewFile, emptyFrom, type NewFile, openNewFile } from "./new_file.ts";
import { namesSet } from "../native/descriptor_path.ts";

/** What opening the same file again takes. */
interface Origin {
  /** For messages. */
  readonly name: string;
  /** Opens another member of the set it came from. A file with a path is opened again by its descriptor. */
  readonly openMember?: (flags: number) => Descriptor;
}

function originOf(path: string, open: OpenPath): Origin {
  return { name: path, ...(namesSet(path) ? { openMember: (flags) => open(path, flags) } : {}) };
}

const anonymous: Origin = { name: "memory" };

/** The same file once more, without the page cache. */
function reopenDirect(fd: Fd, access: number, { name, openMember }: Origin): Descriptor {
  const flags = access | OpenFlags.direct;
  if (openMember !== undefined) return openMember(flags);
  try {
    return openFile(`/proc/self/fd/${fd}`, flags);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const reason = error.errno === Errno.EINVAL
      ? "its file system does not support O_DIRECT"
      : error.message;
    throw new ChannelError(`Could not open '${name}' for direct I/O: ${reason}`, { cause: error });
  }
}

function tryReopenDirect(fd: Fd, access: number, origin: Origin): Descriptor | undefined {
  if (origin.openMember !== undefined) return undefined;
  try {
    return openFile(`/proc/self/fd/${fd}`, access | OpenFlags.direct);
  } catch {
    return undefined;
  }
}

/** A promise's outcome, or ChannelCancelled as soon as `signal` says so; the promise goes on then. */
async function untilCancelled<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const cancelled = Promise.withResolvers<never>();
  const abort = () => cancelled.reject(new ChannelCancelled());
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, cancelled.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
    promise.catch(() => {});
  }
}

/** A file that is written. */
export class OutgoingFile implements OutgoingChannel {
  readonly seekable = true;
  readonly returnPath = undefined;
  readonly #io: ChannelDescriptor;
  readonly #file: NewFile | undefined;
  readonly #origin: Origin;
  readonly #cancelled = new AbortController();

  /**
   * Takes over `descriptor`, of memory or of a file that nobody asked to be durable; writing starts at
   * `offset`.
   */
  constructor(descriptor: Descriptor, offset = 0, origin: Origin = anonymous, file?: NewFile) {
    this.#io = new ChannelDescriptor(descriptor, offset);
    this.#origin = origin;
    this.#file = file;
  }

  /**
   * Creates `path`, readable by its owner only; the name appears when the channel is finished. A file
   * that exists is emptied from `offset` on and overwritten (see new_file.ts).
   */
  static create(path: string, offset = 0, open: OpenPath = openFile): OutgoingFile {
    const origin = originOf(path, open);
    const { openMember } = origin;
    const file = openMember === undefined
      ? openNewFile(path, offset)
      : asNewFile(openMember(OpenFlags.writeOnly | OpenFlags.create));
    try {
      if (openMember !== undefined) emptyFrom(file.descriptor, offset);
      // The channel has a descriptor of its own: threads may still use it when the file is closed.
      return new OutgoingFile(file.descriptor.duplicate(), offset, origin, file);
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
  }

  /** The path, for messages. */
  get name(): string {
    return this.#origin.name;
  }

  get fd(): Fd {
    return this.#io.fd;
  }

  get position(): number {
    return this.#io.position;
  }

  /** Aborted when somebody cancels the channel. */
  get cancelled(): AbortSignal {
    return this.#cancelled.signal;
  }

  async write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.cancelled.aborted) throw new ChannelCancelled();
    const { position } = this;
    try {
      if (this.#origin === anonymous) {
        // Memory makes nobody wait.
        writeAt(this.fd, bytes, position);
        this.seek(position + bytes.length);
      } else await this.#io.write(bytes);
    } catch (error) {
      throw this.#placed(error, position);
    }
  }

  /** A disk may make one wait. */
  writeNow(): number {
    return 0;
  }

  async writeInBulk(operation: (channel: bigint) => Promise<number | bigint>): Promise<number> {
    try {
      return await this.#io.use(operation, undefined, "Unable to write");
    } catch (error) {
      throw this.#placed(error);
    }
  }

  /** Says where in the file the system refused a write. */
  #placed(error: unknown, position = this.position): unknown {
    if (!(error instanceof SystemError)) return error;
    const attempt = `Could not write to '${this.name}' at offset 0x${position.toString(16)}`;
    return new SystemError(attempt, error.errno, { cause: error });
  }

  seek(position: number): void {
    this.#io.seek(position);
  }

  /** A descriptor of the same file that bypasses the page cache (O_DIRECT). */
  openDirect(): Descriptor {
    return reopenDirect(this.fd, OpenFlags.writeOnly, this.#origin);
  }

  /** The same; `undefined` where it cannot be had or nobody gave one. */
  tryOpenDirect(): Descriptor | undefined {
    return tryReopenDirect(this.fd, OpenFlags.writeOnly, this.#origin);
  }

  /** Waits off the isolate until everything written so far is on stable storage. */
  async sync(): Promise<void> {
    const synced = this.#io.use(
      () => dataSync(this.fd, this.name).then(() => 0),
      undefined,
      "",
    );
    await untilCancelled(synced, this.cancelled);
  }

  async finish(): Promise<void> {
    if (this.#file === undefined) return;
    await this.sync();
    await this.#file.keep();
  }

  cancel(): void {
    this.#cancelled.abort();
    this.#io.cancel();
  }

  [Symbol.dispose](): void {
    this.#io[Symbol.dispose]();
    this.#file?.[Symbol.dispose]();
  }
}

/** A file that is read. */
export class IncomingFile implements IncomingChannel {
  readonly seekable = true;
  readonly returnPath = undefined;
  readonly #io: ChannelDescriptor;
  readonly #origin: Origin;
  readonly #cancelled = new AbortController();

  /** Takes over `descriptor`; reading starts at `offset`. */
  constructor(descriptor: Descriptor, offset = 0, origin: Origin = anonymous) {
    this.#io = new ChannelDescriptor(descriptor, offset);
    this.#origin = origin;
  }

  static open(path: string, offset = 0, open: OpenPath = openFile): IncomingFile {
    const origin = originOf(path, open);
    const descriptor = origin.openMember === undefined
      // Non-blocking: opening a FIFO that nobody writes to would wait for ever.
      ? openFile(path, OpenFlags.readOnly | OpenFlags.nonBlocking)
      : origin.openMember(OpenFlags.readOnly);
    return new IncomingFile(descriptor, offset, origin);
  }

  /** The path, for messages. */
  get name(): string {
    return this.#origin.name;
  }

  get fd(): Fd {
    return this.#io.fd;
  }

  /** File offset of the next byte read. */
  get position(): number {
    return this.#io.position;
  }

  /** Bytes in the file, or on the block device. */
  get size(): number {
    return seek(this.fd, 0, Whence.end);
  }

  /** Aborted when somebody cancels the channel. */
  get cancelled(): AbortSignal {
    return this.#cancelled.signal;
  }

  read(buffer: Uint8Array<ArrayBuffer>): Promise<number> {
    return this.#io.read(buffer);
  }

  readInBulk(operation: (channel: bigint) => Promise<number | bigint>): Promise<number> {
    return this.#io.use(operation, undefined, "Unable to read");
  }

  seek(position: number): void {
    this.#io.seek(position);
  }

  /** A descriptor of the same file that bypasses the page cache (O_DIRECT). */
  openDirect(): Descriptor {
    return reopenDirect(this.fd, OpenFlags.readOnly, this.#origin);
  }

  /** The same; `undefined` where it cannot be had or nobody gave one. */
  tryOpenDirect(): Descriptor | undefined {
    return tryReopenDirect(this.fd, OpenFlags.readOnly, this.#origin);
  }

  cancel(): void {
    this.#cancelled.abort();
    this.#io.cancel();
  }

  [Symbol.dispose](): void {
    this.#io[Symbol.dispose]();
  }
}
