/** What the guest of a life has printed, and whether that is one unbroken life. */
import { HeartbeatCheck } from "../guests/heartbeat.ts";
import { patience } from "../support/patience.ts";

const POLL_INTERVAL = 10;

/** Follows the guest heartbeat's output in the console's log file, over resets and returns to a snapshot. */
export class GuestOutput implements Disposable {
  readonly path: string;
  readonly #file: Deno.FsFile;
  readonly #buffer = new Uint8Array(1 << 16);
  #decoder = new TextDecoder();
  #check = new HeartbeatCheck();
  /** The guest was loaded inside a line that it had begun elsewhere: what its next beat may be. */
  #returned: { readonly first: number; readonly last: number } | undefined;
  #tail = "";

  /** Makes the empty file at `path`; every process that has the guest appends to it. */
  constructor(path: string) {
    this.path = path;
    this.#file = Deno.openSync(path, { create: true, truncate: true, read: true, write: true });
  }

  /** The number of the last beat. */
  get beat(): number {
    return this.#check.last?.number ?? 0;
  }

  /** The last that it printed, for who has to find out what happened. */
  get tail(): string {
    return this.#tail;
  }

  /** Reads what there is, and fails if something is wrong. Returns how many beats there were in this run. */
  verify(): number {
    for (;;) {
      const count = this.#file.readSync(this.#buffer);
      if (count === null || count === 0) break;
      this.#feed(this.#decoder.decode(this.#buffer.subarray(0, count), { stream: true }));
    }
    if (this.#check.problems.length > 0) {
      throw new Error(`the guest's output: ${this.#check.problems.join("\n")}`);
    }
    return this.#check.beats;
  }

  /** Waits until the guest has printed so many more beats. */
  async beats(count: number): Promise<void> {
    const signal = patience();
    const goal = this.verify() + count;
    while (this.verify() < goal) {
      if (signal.aborted) throw new Error(`the guest is silent after beat ${this.beat}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
    }
  }

  /** The guest is about to reset itself, between two lines. */
  expectRestart(): void {
    this.#check.expectRestart();
  }

  /** The guest stands and is about to be reset: it begins anew, wherever in a line it was. */
  restart(): void {
    this.verify();
    this.#check = new HeartbeatCheck();
    this.#decoder = new TextDecoder();
  }

  /** The guest goes back to a snapshot that was made somewhere between these two beats. */
  returnTo(first: number, last: number): void {
    this.restart();
    // The line that it was in is dropped, which may be all of one.
    this.#returned = { first, last: last + 2 };
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }

  #feed(text: string): void {
    this.#tail = (this.#tail + text).slice(-2000);
    const returned = this.#returned;
    if (returned === undefined) {
      this.#check.feed(text);
      return;
    }
    const end = text.indexOf("\n");
    if (end < 0) return;
    this.#returned = undefined;
    const [beat] = this.#check.feed(text.slice(end + 1));
    if (beat !== undefined && (beat.number < returned.first || beat.number > returned.last)) {
      this.#check.problems.push(
        `beat ${beat.number} after a return to beats ${returned.first} to ${returned.last}`,
      );
    }
  }
}
