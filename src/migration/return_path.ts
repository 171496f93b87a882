/**
 * The return path: what a destination sends its source on the same connection. A message is u16 type,
 * u16 length, payload, big-endian.
 *
 *   source                                        destination
 *   OPEN_RETURN_PATH, PING 1, PING molt      ->
 *                                            <-   PONG 1, PONG acknowledges, PONG molt + 1
 *   the stream                               ->
 *                                            <-   SHUT 0: the machine is loaded (other values: it is not)
 *   COMMIT: the guest is yours               ->
 *                                            <-   PONG committed: it runs here
 *
 * QEMU's destinations answer each PING with its own value and start the guest before they send SHUT.
 * Between two molts there is one more step, so that the guest never runs in two processes: whoever
 * answers the PING `molt` with the value that follows starts nothing before COMMIT comes, and gives the
 * guest up on ABORT. When the connection ends with neither, the destination cannot know who has the
 * guest: it is kept ready, and an operator decides. The source in turn knows that the guest has arrived
 * when the destination says so; one that did not send PONG `acknowledges` closes the connection instead.
 *
 * In cpr-transfer both processes map a flag that decides (cpr/ownership.ts), and nobody has to wait: a
 * PING with its number says so, and SHUT comes when the guest runs.
 */
import type { IncomingChannel, OutgoingChannel } from "../channel/channel.ts";
import { isBrokenChannel } from "../native/channel.ts";
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
/** Value of a PONG that nobody asked for: COMMIT will be acknowledged. `molv`. */
const ACKNOWLEDGES_PONG = MOLT_PING + 2;
/** Value of the PONG that does so. `molw`. */
const COMMITTED_PONG = MOLT_PING + 3;

/** Why nothing more comes from a destination. */
export class ReturnPathError extends MigrationError {
  /**
   * The destination has said that it does not have the guest, or has closed the connection, which it
   * does not do before it has answered. False if it is silent, out of reach, or makes no sense.
   */
  readonly refused: boolean;

  constructor(message: string, refused: boolean, options?: ErrorOptions) {
    super(message, options);
    this.refused = refused;
  }
}

/** How the wait for an answer to COMMIT ended, unless by an error. */
export type CommitAnswer = "acknowledged" | "closed";

/** The source's end: what the destination has said so far. */
export class ReturnPathReader {
  readonly #channel: IncomingChannel;
  readonly #lastPing: number;
  readonly #introduced = Promise.withResolvers<void>();
  readonly #shut = Promise.withResolvers<void>();
  readonly #switchover = Promise.withResolvers<void>();
  readonly #buffer = new Uint8Array(2 * (headerSize + payloadMaximum));
  readonly #view = new DataView(this.#buffer.buffer);
  #filled = 0;
  #commits = false;
  #acknowledges = false;
  #committed = false;
  #over: { readonly error: unknown } | undefined;

  /**
   * Reads `channel` until the destination has said whether it has the machine, or the channel ends.
   * `lastPing` is the value of the last PING that was sent.
   */
  constructor(channel: IncomingChannel, lastPing: number) {
    this.#channel = channel;
    this.#lastPing = lastPing;
    // Nobody may be waiting.
    for (const { promise } of [this.#introduced, this.#shut, this.#switchover]) {
      promise.catch(() => {});
    }
    void this.#readUntilShut();
  }

  /** Resolves when all PINGs have been answered: what kind of destination it is, is known then. */
  get introduced(): Promise<void> {
    return this.#introduced.promise;
  }

  /** Resolves when the destination has the machine; rejects when it says that it has not, or is gone. */
  get loaded(): Promise<void> {
    return this.#shut.promise;
  }

  /** Resolves when the destination agrees to the switchover. */
  get switchoverAcknowledged(): Promise<void> {
    return this.#switchover.promise;
  }

  /** True if the destination starts nothing before it gets COMMIT, or before it looks who has the guest. */
  get destinationAwaitsCommit(): boolean {
    return this.#commits;
  }

  /** True if it will answer COMMIT. */
  get destinationAcknowledgesCommit(): boolean {
    return this.#acknowledges;
  }

  /** Throws if the destination has given up. */
  check(): void {
    if (this.#over !== undefined) throw this.#over.error;
  }

  /** After {@linkcode loaded} and COMMIT: the destination's answer. Throws if the connection breaks. */
  async commitAnswer(): Promise<CommitAnswer> {
    while (!this.#committed) {
      if (this.#takeMessage()) continue;
      if (await this.#readMore() === 0) return "closed";
    }
    return "acknowledged";
  }

  async #readUntilShut(): Promise<void> {
    try {
      for (;;) {
        const message = this.#takeMessage();
        if (message === "shut") return;
        if (message !== undefined) continue;
        if (await this.#readMore() === 0) throw gone("Input/output error", true);
      }
    } catch (error) {
      const failure = error instanceof ReturnPathError
        ? error
        : gone(messageOf(error), isBrokenChannel(error), { cause: error });
      this.#over = { error: failure };
      this.#introduced.reject(failure);
      this.#shut.reject(failure);
      this.#switchover.reject(failure);
    }
  }

  async #readMore(): Promise<number> {
    const count = await this.#channel.read(this.#buffer.subarray(this.#filled));
    this.#filled += count;
    return count;
  }

  /** Takes the next message, if all of it is there, and says whether it is the one about loading. */
  #takeMessage(): "shut" | "other" | undefined {
    if (this.#filled < headerSize) return undefined;
    const length = this.#view.getUint16(2);
    if (length > payloadMaximum) throw invalidMessage(this.#view);
    const end = headerSize + length;
    if (this.#filled < end) return undefined;
    const last = this.#message(length);
    this.#buffer.copyWithin(0, end, this.#filled);
    this.#filled -= end;
    return last ? "shut" : "other";
  }

  /** Acts on the message at the buffer's beginning; true if it is SHUT. */
  #message(length: number): boolean {
    const type = this.#view.getUint16(0);
    if (type === MessageType.pong && length === 4) {
      this.#pong(this.#view.getUint32(headerSize));
      return false;
    }
    if (type === MessageType.switchoverAcknowledged && length === 0) {
      this.#switchover.resolve();
      return false;
    }
    if (type === MessageType.shut && length === 4) {
      const status = this.#view.getUint32(headerSize);
      if (status !== 0) throw new ReturnPathError(`Sibling indicated error ${status}`, true);
      // Nothing it has not been asked is waited for any more.
      this.#introduced.resolve();
      this.#shut.resolve();
      return true;
    }
    throw invalidMessage(this.#view);
  }

  #pong(value: number): void {
    if (value === MOLT_PONG) this.#commits = true;
    if (value === ACKNOWLEDGES_PONG) this.#acknowledges = true;
    if (value === COMMITTED_PONG) this.#committed = true;
    if (value === this.#lastPing || (value === MOLT_PONG && this.#lastPing === MOLT_PING)) {
      this.#introduced.resolve();
    }
  }
}

function gone(reason: string, refused: boolean, options?: ErrorOptions): ReturnPathError {
  const text = `the destination disconnected before it had the guest: Channel error: ${reason}`;
  return new ReturnPathError(text, refused, options);
}

function invalidMessage(view: DataView): ReturnPathError {
  const hex = (value: number) => `0x${value.toString(16).padStart(4, "0")}`;
  const [type, length] = [view.getUint16(0), view.getUint16(2)];
  const text = `Received invalid message ${hex(type)} length ${hex(length)}`;
  return new ReturnPathError(text, false);
}

/** The destination's end. */
export class ReturnPathWriter {
  readonly #channel: OutgoingChannel;
  readonly #ownership: Ownership | undefined;
  #sourceCommits = false;
  #shared = false;

  /** `ownership` is the flag that the source may mean. */
  constructor(channel: OutgoingChannel, ownership: Ownership | undefined) {
    this.#channel = channel;
    this.#ownership = ownership;
  }

  /** The flag that decides who has the guest, if the source looks at it too. */
  get ownership(): Ownership | undefined {
    return this.#shared ? this.#ownership : undefined;
  }

  /** True if the source will say when the guest may start. */
  get sourceCommits(): boolean {
    return this.#sourceCommits;
  }

  /** Answers a PING. */
  async pong(value: number): Promise<void> {
    if (value === MOLT_PING) {
      this.#sourceCommits = true;
      await this.#send(MessageType.pong, ACKNOWLEDGES_PONG);
    }
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

  /** Answers COMMIT: the guest is this side's. */
  async acknowledgeCommit(): Promise<void> {
    await this.#send(MessageType.pong, COMMITTED_PONG);
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
