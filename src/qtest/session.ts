/**
 * A qtest connection: commands are done as their lines are complete, one after the other.
 *
 *   closed -> (a client comes) -> open: reading a line <-> dropping the rest of one too long
 *   open -> (the client leaves) -> closed: what it had not finished is forgotten
 *
 * While answers wait for a client that does not read, no more commands are taken from it.
 */
import type { CharacterEvent, CharacterFrontend, CharacterPort } from "../backends/character.ts";
import { faultText } from "../native/faults.ts";
import type { QtestLog } from "./log.ts";
import { MAX_LINE, parseRequest, QtestError } from "./protocol.ts";
import { execute, type QtestTarget } from "./target.ts";

const LINE_FEED = 0x0a;
/** Bytes taken from the connection at a time. */
const RECEIVE_SIZE = 65536;
/** How many bytes of answers may wait. */
const MAX_WAITING = 1 << 20;

/** The frontend that answers a client's commands. */
export class QtestSession implements CharacterFrontend, Disposable {
  readonly #port: CharacterPort;
  readonly #target: QtestTarget;
  readonly #log: QtestLog;
  readonly #decoder = new TextDecoder("latin1");
  readonly #encoder = new TextEncoder();
  /** The line under way. */
  #pieces: Uint8Array<ArrayBuffer>[] = [];
  #length = 0;
  /** Answers that have not been written, and how much of the first one has. */
  #answers: Uint8Array<ArrayBuffer>[] = [];
  #waiting = 0;
  #writing = false;

  /** Serves `port`. Throws, as the port does, if somebody else uses it. */
  constructor(port: CharacterPort, target: QtestTarget, log: QtestLog) {
    this.#port = port;
    this.#target = target;
    this.#log = log;
    port.attach(this);
  }

  canReceive(): number {
    return this.#waiting > MAX_WAITING ? 0 : RECEIVE_SIZE;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    for (const passenger of this.#port.takeDescriptors()) passenger[Symbol.dispose]();
    let start = 0;
    for (let end; (end = bytes.indexOf(LINE_FEED, start)) >= 0; start = end + 1) {
      this.#append(bytes.subarray(start, end));
      this.#serve();
    }
    this.#append(bytes.subarray(start));
  }

  event(event: CharacterEvent): void {
    if (event === "opened") {
      this.#forget();
      this.#log.opened();
    } else if (event === "closed") {
      this.#forget();
      this.#log.closed();
    }
  }

  [Symbol.dispose](): void {
    this.#forget();
    this.#port.detach();
  }

  /** Adds to the line. Of one that is too long only the length is kept. */
  #append(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.length === 0) return;
    this.#length += bytes.length;
    if (this.#length > MAX_LINE) this.#pieces = [];
    else this.#pieces.push(bytes);
  }

  /** Follows the line, which is complete. */
  #serve(): void {
    const pieces = this.#pieces;
    const tooLong = this.#length > MAX_LINE;
    this.#pieces = [];
    this.#length = 0;
    if (tooLong) return this.#answer(`FAIL the line is longer than ${MAX_LINE} bytes`);
    const line = pieces.map((piece) => this.#decoder.decode(piece)).join("");
    this.#log.received(line);
    this.#answer(this.#follow(line));
  }

  #follow(line: string): string {
    try {
      const request = parseRequest(line);
      if (request.kind === "write" && request.mismatch) this.#log.sent(request.mismatch);
      return execute(request, this.#target);
    } catch (error) {
      if (error instanceof QtestError) return error.message;
      // A device has failed, or the memory of the machine: the test hears of it.
      return `FAIL ${faultText(error)}`;
    }
  }

  #answer(line: string): void {
    this.#log.sent(line);
    const bytes = new Uint8Array(this.#encoder.encode(`${line}\n`));
    this.#answers.push(bytes);
    this.#waiting += bytes.length;
    if (!this.#writing) this.#write();
  }

  #write(): void {
    const full = this.canReceive() === 0;
    this.#writing = false;
    for (let first; (first = this.#answers[0]) !== undefined;) {
      const taken = this.#port.write(first, () => this.#write());
      this.#waiting -= taken;
      if (taken < first.length) {
        this.#answers[0] = first.subarray(taken);
        this.#writing = true;
        return;
      }
      this.#answers.shift();
    }
    if (full) this.#port.acceptInput();
  }

  #forget(): void {
    this.#pieces = [];
    this.#length = 0;
    this.#answers = [];
    this.#waiting = 0;
    this.#writing = false;
  }
}
