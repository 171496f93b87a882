/**
 * Descriptors that carry a migration's bytes. The event loop waits for them; bulk work is done by threads of
 * the C library, which wait on their own (ffi/channel.c). Both can be cancelled.
 */
import { layouts } from "./layouts.ts";
import { native } from "./library.ts";
import { Descriptor, type Fd } from "./descriptor.ts";
import { Errno, SystemError, unwrap } from "./errors.ts";
import { Events } from "./event_loop.ts";
import { createEvent } from "./event_descriptor.ts";
import { pollNow, setNonBlocking } from "./file.ts";
import { Mapping } from "./mapping.ts";
import { type Condition, untilReady } from "./readiness.ts";
import { threads } from "./thread_pool.ts";

const layout = layouts.molt_channel;
/** Up to this much is written from the isolate if there is room; a thread takes over beyond. */
const IMMEDIATE = 65536;
/** What is attempted, for errors. */
const WRITING = "Unable to write";

/** Somebody cancelled the channel while it was in use. */
export class ChannelCancelled extends Error {
  override readonly name = "ChannelCancelled";
  constructor() {
    super("The channel was cancelled");
  }
}

/**
 * A socket, pipe or file together with what the C library needs to use it on other threads. Disposal
 * cancels what is under way and closes the descriptor when that has ended.
 */
export class ChannelDescriptor implements Disposable {
  readonly #descriptor: Descriptor;
  readonly #cancel: Descriptor;
  /** struct molt_channel. */
  readonly #structure: Mapping;
  readonly #view: DataView<ArrayBuffer>;
  /** What C threads use now; also keeps buffers from being freed. */
  readonly #inUse = new Set<unknown>();
  readonly #isFile: boolean;
  readonly #cancelled = new AbortController();
  #disposed = false;
  #sent = 0;
  /** Set once it is closed. */
  #lastPosition: number | undefined;

  /** Takes over `descriptor`. `offset` is where the first byte goes in a file; absent for others. */
  constructor(descriptor: Descriptor, offset?: number) {
    using undo = new DisposableStack();
    this.#descriptor = undo.use(descriptor);
    this.#isFile = offset !== undefined;
    if (offset === undefined) setNonBlocking(descriptor.fd, true);
    this.#cancel = undo.use(createEvent());
    this.#structure = undo.use(new Mapping({ kind: "anonymous" }, 4096, "a channel"));
    this.#view = new DataView(this.#structure.bytes.buffer);
    this.#view.setInt32(layout.fd, descriptor.fd, true);
    this.#view.setInt32(layout.cancel, this.#cancel.fd, true);
    this.#view.setBigInt64(layout.offset, BigInt(offset ?? -1), true);
    undo.move();
  }

  get fd(): Fd {
    return this.#descriptor.fd;
  }

  get cancelled(): boolean {
    return this.#cancelled.signal.aborted;
  }

  /**
   * A file's offset of the next byte; on other channels the count of bytes written so far. After disposal,
   * what it was then: an attempt that has ended still says how far it came.
   */
  get position(): number {
    if (!this.#isFile || this.#lastPosition !== undefined) return this.#lastPosition ?? this.#sent;
    return Number(this.#view.getBigInt64(layout.offset, true));
  }

  /** Goes on at another offset of a file. */
  seek(position: number): void {
    this.#view.setBigInt64(layout.offset, BigInt(position), true);
  }

  /**
   * Runs an operation of the C library that takes the address of a struct molt_channel and returns
   * the count of bytes it wrote, or a negative errno. The descriptor stays open as long as it runs.
   * `keep` is what the operation uses and must not be freed.
   */
  async use(
    operation: (channel: bigint) => Promise<number | bigint>,
    keep: unknown,
    attempt: string,
  ): Promise<number> {
    if (this.cancelled || this.#disposed) throw new ChannelCancelled();
    const token = { keep };
    this.#inUse.add(token);
    try {
      const result = await operation(this.#structure.address);
      if (Number(result) === -Errno.ECANCELED) throw new ChannelCancelled();
      const count = unwrap(result, attempt);
      this.#sent += count;
      return count;
    } finally {
      this.#inUse.delete(token);
      if (this.#disposed) this.#close();
    }
  }

  /** Writes all of `bytes`, from this thread while there is room. */
  async write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const now = bytes.length <= IMMEDIATE ? this.writeNow(bytes) : 0;
    if (now === bytes.length) return;
    const rest = bytes.subarray(now);
    await this.use(
      async (channel) => {
        const error = await threads.molt_channel_write(channel, rest, BigInt(rest.length));
        return error < 0 ? error : rest.length;
      },
      rest,
      WRITING,
    );
  }

  /** Writes what there is room for, from this thread; nothing to a file. Returns the count. */
  writeNow(bytes: Uint8Array<ArrayBuffer>): number {
    if (this.cancelled || this.#disposed) throw new ChannelCancelled();
    if (this.#isFile) return 0;
    const result = Number(native.molt_write(this.fd, bytes, BigInt(bytes.length)));
    if (result === -Errno.EAGAIN || result === -Errno.EINTR) return 0;
    const count = unwrap(result, WRITING);
    this.#sent += count;
    return count;
  }

  /** Reads some bytes: the count, 0 at the end. A disk makes nobody wait but a thread. */
  async read(buffer: Uint8Array<ArrayBuffer>): Promise<number> {
    if (this.#isFile) return await this.#readFile(buffer);
    for (;;) {
      if (this.cancelled || this.#disposed) throw new ChannelCancelled();
      const result = Number(native.molt_read(this.fd, buffer, BigInt(buffer.length)));
      if (result !== -Errno.EAGAIN && result !== -Errno.EINTR) {
        return unwrap(result, "Unable to read");
      }
      await this.readable();
    }
  }

  async #readFile(buffer: Uint8Array<ArrayBuffer>): Promise<number> {
    return await this.use(
      (channel) => threads.molt_channel_read(channel, buffer, BigInt(buffer.length)),
      buffer,
      "Unable to read",
    );
  }

  /** Fills `buffer`: the count, less than its length only at the end. */
  async readFully(buffer: Uint8Array<ArrayBuffer>): Promise<number> {
    let done = 0;
    while (done < buffer.length) {
      const count = await this.read(buffer.subarray(done));
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  /** Waits until there is something to read, or a connection to accept. */
  async readable(): Promise<void> {
    await this.#until({ fd: this.fd, events: Events.readable });
  }

  /**
   * Waits, on a listening socket, until there is a connection to accept: true; false if there is none
   * and the other side of `established`, a connection that came before, has closed it.
   */
  async connectable(established: Fd): Promise<boolean> {
    const first = await this.#until(
      { fd: this.fd, events: Events.readable },
      { fd: established, events: Events.peerHangUp },
    );
    return first === 0 || pollNow(this.fd, Events.readable) !== 0;
  }

  /** Waits until there is room to write, or the peer has disconnected. */
  async writable(): Promise<void> {
    await this.#until({ fd: this.fd, events: Events.writable });
  }

  /** Waits until the other side has closed the connection altogether. */
  async hungUp(): Promise<void> {
    await this.#until({ fd: this.fd, events: 0 });
  }

  async #until(...conditions: Condition[]): Promise<number> {
    if (this.#disposed) throw new ChannelCancelled();
    return await untilReady(conditions, this.#cancelled.signal);
  }

  /** Makes operations under way, and all later ones, fail with ChannelCancelled. */
  cancel(): void {
    if (this.cancelled || this.#disposed) return;
    this.#cancelled.abort(new ChannelCancelled());
    const one = new Uint8Array(new BigUint64Array([1n]).buffer);
    unwrap(native.molt_write(this.#cancel.fd, one, 8n), "Could not cancel a channel");
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.cancel();
    this.#disposed = true;
    this.#close();
  }

  #close(): void {
    if (this.#inUse.size > 0) return;
    this.#lastPosition = this.position;
    this.#descriptor[Symbol.dispose]();
    this.#cancel[Symbol.dispose]();
    this.#structure[Symbol.dispose]();
  }
}

/** True for an error that says the peer of a channel has disconnected. */
export function isBrokenChannel(error: unknown): boolean {
  return error instanceof SystemError &&
    (error.errno === Errno.EPIPE || error.errno === Errno.ECONNRESET);
}
