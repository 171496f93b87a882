/**
 * The return path: what a destination tells its source on the same connection. A message is u16 type,
 * u16 length, payload.
 *
 *   source                                        destination
 *   OPEN_RETURN_PATH, PING 1, PING molt      ->
 *                                            <-   PONG 1, PONG molt + 1
 *   the stream                               ->
 *                                            <-   SHUT 0: the machine is loaded (other values: it is not)
 *   COMMIT: the guest is yours               ->
 *
 * QEMU's destinations answer each PING with its own value and start the guest before they send SHUT.
 * Between two molts there is one more step, so that the guest never runs in two processes: whoever
 * answers the PING `molt` with the value that follows starts nothing before COMMIT comes, and gives the
 * guest up on ABORT. When the connection ends with neither, the destination cannot know who has the
 * guest: it is kept ready, and a person decides.
 *
 * In cpr-transfer both processes map a word that decides (cpr/ownership.ts), and nobody has to wait: a
 * PING with its number says so, and SHUT comes when the guest runs.
 */
import type { IncomingChannel, OutgoingChannel } from "../channel/channel.ts";
import type { Ownership } from "./cpr/ownership.ts";
import { messageOf, MigrationError } from "./errors.ts";

/** Types of messages. */
const MessageType = {
  shut: 1,
  pong: 2,
  requestPagesOfBlock: 3,
  requestPages: 4,
  receivedBitmap: 5,
  resumeAcknowledged: 6,
  switchoverAcknowledged: 7,
} as const;

/** Longest payload. */
const payloadMaximum = 512;
const headerSize = 4;

/** Value of the PING by which two molts know each other: `molt`. */
export const MOLT_PING = 0x6d6f6c74;
const MOLT_PONG = MOLT_PING + 1;

/** The source's end: what the destination has said so far. */
export class ReturnPathReader {
  readonly #shut = Promise.withResolvers<void>();
  readonly #switchover = Promise.withResolvers<void>();
  #commits = false;
  #over: { readonly error: unknown } | undefined;

  /** Reads `channel` until the destination has said its last word or the channel ends. */
  constructor(channel: IncomingChannel) {
    // Whoever waits is told; nobody may be waiting.
    this.#shut.promise.catch(() => {});
    this.#switchover.promise.catch(() => {});
    void this.#read(channel);
  }

  /** Resolves when the destination has the machine; rejects when it says that it has not, or is gone. */
  get loaded(): Promise<void> {
    return this.#shut.promise;
  }

  /** Resolves when the destination agrees to the switchover. */
  get switchoverAcknowledged(): Promise<void> {
    return this.#switchover.promise;
  }

  /** True if the destination starts nothing before it is told to, or before it looks who has the guest. */
  get destinationAwaitsCommit(): boolean {
    return this.#commits;
  }

  /** Throws if the destination has given up. */
  check(): void {
    if (this.#over !== undefined) throw this.#over.error;
  }

  async #read(channel: IncomingChannel): Promise<void> {
    const buffer = new Uint8Array(2 * (headerSize + payloadMaximum));
    const view = new DataView(buffer.buffer);
    let filled = 0;
    try {
      for (;;) {
        const count = await channel.read(buffer.subarray(filled));
        if (count === 0) throw gone("Input/output error");
        filled += count;
        let start = 0;
        for (;;) {
          if (filled - start < headerSize) break;
          const length = view.getUint16(start + 2);
          if (length > payloadMaximum) throw invalidMessage(view, start);
          if (filled - start < headerSize + length) break;
          if (this.#message(view, start)) return;
          start += headerSize + length;
        }
        buffer.copyWithin(0, start, filled);
        filled -= start;
      }
    } catch (error) {
      const failure = error instanceof MigrationError
        ? error
        : gone(messageOf(error), { cause: error });
      this.#over = { error: failure };
      this.#shut.reject(failure);
      this.#switchover.reject(failure);
    }
  }

  /** Takes a message; true if it is the last one. */
  #message(view: DataView, start: number): boolean {
    const type = view.getUint16(start);
    const length = view.getUint16(start + 2);
    const payload = start + headerSize;
    if (type === MessageType.pong && length === 4) {
      if (view.getUint32(payload) === MOLT_PONG) this.#commits = true;
      return false;
    }
    if (type === MessageType.switchoverAcknowledged && length === 0) {
      this.#switchover.resolve();
      return false;
    }
    if (type === MessageType.shut && length === 4) {
      const status = view.getUint32(payload);
      if (status !== 0) throw new MigrationError(`Sibling indicated error ${status}`);
      this.#shut.resolve();
      return true;
    }
    throw invalidMessage(view, start);
  }
}

function gone(reason: string, options?: ErrorOptions): MigrationError {
  const text = `the destination has gone before it had the guest: Channel error: ${reason}`;
  return new MigrationError(text, options);
}

function invalidMessage(view: DataView, start: number): MigrationError {
  const hex = (value: number) => `0x${value.toString(16).padStart(4, "0")}`;
  const [type, length] = [view.getUint16(start), view.getUint16(start + 2)];
  return new MigrationError(`Received invalid message ${hex(type)} length ${hex(length)}`);
}

/** The destination's end. */
export class ReturnPathWriter {
  readonly #channel: OutgoingChannel;
  readonly #ownership: Ownership | undefined;
  #sourceCommits = false;
  #shared = false;

  /** `ownership` is the word that the source may mean. */
  constructor(channel: OutgoingChannel, ownership: Ownership | undefined) {
    this.#channel = channel;
    this.#ownership = ownership;
  }

  /** The word that decides who has the guest, if the source looks at it too. */
  get ownership(): Ownership | undefined {
    return this.#shared ? this.#ownership : undefined;
  }

  /** True if the source will say when the guest may start. */
  get sourceCommits(): boolean {
    return this.#sourceCommits;
  }

  /** Answers a PING. */
  async pong(value: number): Promise<void> {
    if (value === MOLT_PING) this.#sourceCommits = true;
    if (value === this.#ownership?.number) this.#shared = true;
    await this.#send(MessageType.pong, value === MOLT_PING ? MOLT_PONG : value);
  }

  /** Agrees to the switchover. */
  async acknowledgeSwitchover(): Promise<void> {
    await this.#send(MessageType.switchoverAcknowledged);
  }

  /** Says that the machine is loaded, or that it cannot be. */
  async shut(loaded: boolean): Promise<void> {
    await this.#send(MessageType.shut, loaded ? 0 : 1);
  }

  async #send(type: number, value?: number): Promise<void> {
    const bytes = new Uint8Array(headerSize + (value === undefined ? 0 : 4));
    const view = new DataView(bytes.buffer);
    view.setUint16(0, type);
    view.setUint16(2, bytes.length - headerSize);
    if (value !== undefined) view.setUint32(headerSize, value);
    await this.#channel.write(bytes);
  }
}
