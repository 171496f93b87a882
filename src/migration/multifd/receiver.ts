/**
 * The destination of multifd's connections (see transport.ts). Each is read by a thread that puts pages
 * into place up to the next SYNC, and waits there until the main stream has come to its FLUSH and all
 * other connections to their SYNC.
 */
import type { StreamChannel } from "../../channel/stream.ts";
import { type Compression, MultifdEnd } from "../../native/multifd.ts";
import type { RamTargets } from "../../native/ram_load.ts";
import { MigrationError } from "../errors.ts";
import { GREETING_SIZE, readGreeting } from "./greeting.ts";

/** What connections are expected to be like. */
export interface MultifdReceiverOptions {
  /** In any order. They stay the caller's to close. */
  readonly channels: readonly StreamChannel[];
  readonly uuid: Uint8Array | undefined;
  readonly compression: Compression["kind"];
  /** Called once when a connection fails: nothing that the main stream says will help. */
  readonly failed: () => void;
}

/** Receives pages on several connections. */
export class MultifdReceiver implements AsyncDisposable {
  readonly #options: MultifdReceiverOptions;
  readonly #ends: readonly MultifdEnd[];
  readonly #resources = new DisposableStack();
  #failure: Error | undefined;
  #readers: Promise<void>[] | undefined;
  /** Connections that wait at a SYNC. */
  #arrived = 0;
  #allArrived = Promise.withResolvers<void>();
  #goOn = Promise.withResolvers<void>();

  /** Throws if pages cannot be decompressed here. */
  constructor(options: MultifdReceiverOptions) {
    using undo = new DisposableStack();
    this.#options = options;
    this.#ends = options.channels.map(() => undo.use(new MultifdEnd(options.compression)));
    this.#resources = undo.move();
    this.#allArrived.promise.catch(() => {});
  }

  /** Why a connection failed. It comes before what that made of the main stream. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Reads and checks what each connection begins with. Throws with QEMU's text. */
  async greet(): Promise<void> {
    const { channels, uuid } = this.#options;
    const ids = new Set<number>();
    for (const channel of channels) {
      const bytes = await channel.peek(GREETING_SIZE);
      if (bytes.length < GREETING_SIZE) {
        throw new MigrationError("multifd: a connection was closed before its greeting ended");
      }
      await channel.read(new Uint8Array(GREETING_SIZE));
      const id = readGreeting(new Uint8Array(bytes), uuid, channels.length);
      if (ids.has(id)) throw new MigrationError(`multifd: received id '${id}' already setup'`);
      ids.add(id);
    }
  }

  /**
   * Waits until all pages are in place that were sent before the latest FLUSH of the main stream, and
   * lets what was sent after it follow. Pages go to `targets`.
   */
  async flush(targets: RamTargets): Promise<void> {
    this.#readers ??= this.#options.channels.map((channel, i) =>
      this.#read(channel, this.#ends[i]!, targets)
    );
    await this.#allArrived.promise;
    const released = this.#goOn;
    this.#arrived = 0;
    this.#allArrived = Promise.withResolvers<void>();
    this.#allArrived.promise.catch(() => {});
    this.#goOn = Promise.withResolvers<void>();
    released.resolve();
  }

  /** Ends the threads. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const channel of this.#options.channels) channel.cancel();
    this.#goOn.resolve();
    await Promise.all(this.#readers ?? []);
    this.#resources[Symbol.dispose]();
  }

  async #read(channel: StreamChannel, end: MultifdEnd, targets: RamTargets): Promise<void> {
    try {
      for (;;) {
        const outcome = await channel.readInBulk((address) => end.receive(address, targets));
        if (outcome === 0) return this.#ended();
        const goOn = this.#goOn.promise;
        if (++this.#arrived === this.#options.channels.length) this.#allArrived.resolve();
        await goOn;
      }
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** A connection was closed: well if that was after the last SYNC. */
  #ended(): void {
    this.#allArrived.reject(
      new MigrationError("multifd: a connection was closed before the pages were complete"),
    );
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#allArrived.reject(error);
    this.#options.failed();
  }
}
