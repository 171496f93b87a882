/** What a guest has printed, in the file of a `file` chardev, and whether that is one unbroken life. */
import { assertEquals } from "@std/assert";
import { HeartbeatCheck } from "../guests/heartbeat.ts";
import { patience } from "./patience.ts";

const POLL_INTERVAL = 10;

/** Follows the output of the guest heartbeat over whatever happens to its machine. */
export class HeartbeatLog implements Disposable {
  readonly check = new HeartbeatCheck();
  readonly path: string;
  readonly #file: Deno.FsFile;
  readonly #buffer = new Uint8Array(1 << 16);
  readonly #decoder = new TextDecoder();

  /** Makes an empty file at `path`. Every machine that runs the guest appends to it. */
  constructor(path: string) {
    this.path = path;
    this.#file = Deno.openSync(path, { create: true, truncate: true, read: true, write: true });
  }

  /** The options that send a machine's serial output here. */
  get options(): string[] {
    return [
      "-chardev",
      `file,id=serial0,path=${this.path},append=on`,
      "-serial",
      "chardev:serial0",
    ];
  }

  /** Reads what there is, and fails if the guest has noticed anything. Returns the count of beats. */
  verify(): number {
    for (;;) {
      const count = this.#file.readSync(this.#buffer);
      if (count === null || count === 0) break;
      this.check.feed(this.#decoder.decode(this.#buffer.subarray(0, count), { stream: true }));
    }
    assertEquals(this.check.problems, [], `${this.path}, after ${this.check.beats} beats`);
    return this.check.beats;
  }

  /** Waits until the guest has printed `count` more beats, all in order. */
  async beats(count: number, signal: AbortSignal = patience()): Promise<void> {
    const goal = this.verify() + count;
    while (this.verify() < goal) {
      if (signal.aborted) {
        throw new Error(`the guest came to beat ${this.check.beats} of ${goal}: ${this.path}`, {
          cause: signal.reason,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
