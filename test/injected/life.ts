/**
 * The life of a guest as its output shows it. Here a line may be missing or broken, because writing it
 * was what failed; numbers never go back, the guest never starts again and finds no error.
 */
import { GuestLost } from "./scenario.ts";

const INTERVAL = 10;
/** heartbeat.S, virtio_blk.S, virtio_net.S: a number that counts lines, and what was done. */
const progressLine = /^(?:beat|blk|net) (\d{6,}) .*errors=(\d+)$/;
const workDone = / (?:pages|reads|replies)=(\d+)/;

/** Reads the file that a guest's output goes to. */
export class Life implements Disposable {
  readonly path: string;
  readonly #file: Deno.FsFile;
  readonly #decoder = new TextDecoder();
  readonly #buffer = new Uint8Array(1 << 16);
  #partial = "";
  #started = 0;
  #lines = 0;
  #work = 0;

  constructor(path: string) {
    this.path = path;
    this.#file = Deno.openSync(path, { create: true, truncate: true, read: true, write: true });
  }

  /** Waits until the guest has printed `count` more lines, and has done something between them. */
  async goOn(count: number, signal: AbortSignal): Promise<void> {
    this.#read();
    const [lines, work] = [this.#lines + count, this.#work];
    while (this.#lines < lines || this.#work === work) {
      if (signal.aborted) {
        const state = `line ${this.#lines}, work ${this.#work}`;
        throw new GuestLost(`the guest does not go on: ${state}, wanted line ${lines}, > ${work}`);
      }
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
      this.#read();
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }

  #read(): void {
    for (;;) {
      const count = this.#file.readSync(this.#buffer);
      if (count === null || count === 0) return;
      const text = this.#decoder.decode(this.#buffer.subarray(0, count), { stream: true });
      const lines = (this.#partial + text).split("\n");
      this.#partial = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
    }
  }

  #take(line: string): void {
    if (line.includes(" ERROR ")) throw new GuestLost(`the guest says: ${line}`);
    if (/^(heartbeat cpus|virtio_\w+ version)=/.test(line) && ++this.#started > 1) {
      throw new GuestLost("the guest has started again");
    }
    const match = progressLine.exec(line);
    if (match === null) return;
    const number = Number(match[1]);
    if (match[2] !== "0") throw new GuestLost(`the guest has found errors: ${line}`);
    if (number <= this.#lines) {
      throw new GuestLost(`the guest came to line ${number} after line ${this.#lines}`);
    }
    this.#lines = number;
    this.#work = Number(workDone.exec(line)?.[1] ?? number);
  }
}
