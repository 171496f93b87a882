/** What a guest has printed, in the file of a `file` chardev, and whether that is one unbroken life. */
import { assertEquals } from "@std/assert";
import { HeartbeatCheck } from "../guests/heartbeat.ts";
import { patience } from "./patience.ts";

const POLL_INTERVAL = 10;
/** Nanoseconds: a second more than a QEMU takes from its start to loading a guest, also on a busy machine. */
const GROWN = 5_000_000_000n;

/** Follows the output of the guest heartbeat over whatever happens to its machine. */
export class HeartbeatLog implements Disposable {
  readonly check = new HeartbeatCheck();
  /** Where the guest is, for whoever reads that it noticed something there. */
  place = "its first process";
  readonly path: string;
  readonly #file: Deno.FsFile;
  readonly #buffer = new Uint8Array(1 << 16);
  readonly #decoder = new TextDecoder();

  /** The longest gap of those beats that were read since it was last asked for, in ns. */
  #gap = 0;
  /** What was read belongs to a line whose beginning was printed elsewhere. */
  #inside: boolean;

  /**
   * Makes an empty file at `path`. Every machine that runs the guest appends to it. A guest whose output
   * went elsewhere before may be `inside` a line.
   */
  constructor(path: string, { inside = false }: { inside?: boolean } = {}) {
    this.path = path;
    this.#inside = inside;
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
      const text = this.#decoder.decode(this.#buffer.subarray(0, count), { stream: true });
      const beats = this.check.feed(this.#inside ? this.#fromNextLine(text) : text);
      this.#gap = Math.max(this.#gap, ...beats.flatMap(({ gaps }) => gaps));
    }
    assertEquals(
      this.check.problems,
      [],
      `${this.path}, after ${this.check.beats} beats, in ${this.place}`,
    );
    return this.check.beats;
  }

  /** The longest time for which a CPU of the guest stood still since this was last called, in ns. */
  takeLongestGap(): number {
    this.verify();
    const gap = this.#gap;
    this.#gap = 0;
    return gap;
  }

  /** Waits until the guest has printed `count` more beats, all in order. */
  async beats(count: number, signal: AbortSignal = patience()): Promise<void> {
    const goal = this.verify() + count;
    await this.#until(() => this.check.beats >= goal, `to beat ${goal}`, signal);
  }

  /**
   * Waits until the guest is old enough for a QEMU to load it. KVM continues the TSC that was written
   * last if the next value written is within a second of it (kvm_synchronize_tsc), and QEMU writes 0
   * before it loads a state: in a process that is as old as the guest the guest's TSC goes back.
   */
  async grown(signal: AbortSignal = patience()): Promise<void> {
    await this.beats(1, signal);
    const reached = () => (this.check.last?.clock ?? GROWN) >= GROWN;
    await this.#until(reached, `to ${GROWN} ns of kvmclock`, signal);
  }

  /** Waits until each of the guest's CPUs has verified and rewritten all of its memory once more. */
  async passes(signal: AbortSignal = patience()): Promise<void> {
    await this.beats(1, signal);
    const goal = this.check.last?.passes.map((count) => count + 1) ?? [];
    const reached = () => this.check.last?.passes.every((count, cpu) => count >= (goal[cpu] ?? 0));
    await this.#until(() => reached() ?? false, `to passes ${goal}`, signal);
  }

  async #until(reached: () => boolean, goal: string, signal: AbortSignal): Promise<void> {
    for (this.verify(); !reached(); this.verify()) {
      if (signal.aborted) {
        const { beats, last } = this.check;
        const text = `the guest came to beat ${beats}, passes ${last?.passes}, and not ${goal}`;
        throw new Error(`${text}, in ${this.place}: ${this.path}`, { cause: signal.reason });
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
    }
  }

  #fromNextLine(text: string): string {
    const end = text.indexOf("\n");
    if (end < 0) return "";
    this.#inside = false;
    return text.slice(end + 1);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
