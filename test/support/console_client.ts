/** Somebody at the console of the guest heartbeat: follows its life and types lines that it echoes. */
import { assertEquals } from "@std/assert";
import { HeartbeatCheck } from "../guests/heartbeat.ts";
import { patience } from "./patience.ts";

/** Lines that are typed ahead: at each moment there is input that the guest has not read. */
const TYPED_AHEAD = 3;
/** Milliseconds after which a guest that beats every 100 ms is taken to print no more. */
const SILENCE = 2000;

/** Both directions of a console. */
export interface ConsoleConnection {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  close(): void;
}

/**
 * One connection to the guest's console. Whatever is lost, comes twice or changes on its way, in
 * either direction, is a problem: beats and echoes are numbered.
 */
export class ConsoleClient implements AsyncDisposable {
  readonly check = new HeartbeatCheck();
  readonly #connection: ConsoleConnection;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reading: Promise<void>;
  #received = "";
  #echoPart = "";
  #typed = 0;
  #echoed = 0;
  #typing = false;
  #ended = false;
  #paused: PromiseWithResolvers<void> | undefined;

  constructor(connection: ConsoleConnection) {
    this.#connection = connection;
    this.#writer = connection.writable.getWriter();
    this.#reading = this.#read();
  }

  static async connect(path: string): Promise<ConsoleClient> {
    return new ConsoleClient(await Deno.connect({ transport: "unix", path }));
  }

  /** All that the guest has printed. */
  get received(): string {
    return this.#received;
  }

  /** How many lines the guest has echoed. */
  get echoed(): number {
    return this.#echoed;
  }

  /** From now on there are always some lines on their way to the guest. */
  type(): void {
    this.#typing = true;
    this.#typeAhead();
  }

  /** Types no more, and waits until the guest has echoed everything. */
  async rest(): Promise<void> {
    this.#typing = false;
    await this.#until(() => this.#echoed === this.#typed, "echoes everything");
  }

  /** Waits until the guest has printed `count` more beats and echoed a line. */
  async follow(count: number): Promise<void> {
    const [beats, echoed] = [this.check.beats + count, this.#echoed + (this.#typing ? 1 : 0)];
    await this.#until(
      () => this.check.beats >= beats && this.#echoed >= echoed,
      `comes to beat ${beats} and line ${echoed}`,
    );
  }

  /** Types one of the guest's keys. */
  async press(key: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(key));
  }

  /** Waits until the guest prints nothing any more. */
  async silence(): Promise<void> {
    const signal = patience();
    let length = -1;
    while (length !== this.#received.length) {
      signal.throwIfAborted();
      length = this.#received.length;
      await new Promise((resolve) => setTimeout(resolve, SILENCE));
    }
  }

  /** Reads nothing until {@linkcode resume}: what the guest prints has to wait. */
  pause(): void {
    this.#paused ??= Promise.withResolvers<void>();
  }

  resume(): void {
    this.#paused?.resolve();
    this.#paused = undefined;
  }

  /** Fails if something was lost or changed, or if the connection has ended. */
  verify(): void {
    assertEquals(this.check.problems, [], `after ${this.check.beats} beats, ${this.#echoed} lines`);
    if (this.#ended) throw new Error(`the console's connection ended at beat ${this.check.beats}`);
  }

  /** Fails if the guest, which has stopped, printed anything else into the file `path` than here. */
  async verifyLog(path: string): Promise<void> {
    const log = Deno.readTextFileSync(path);
    await this.#until(() => this.#received.length >= log.length, "is read to the end");
    if (log === this.#received) return;
    let same = 0;
    while (log[same] === this.#received[same]) same++;
    const excerpt = (text: string) =>
      JSON.stringify(text.slice(Math.max(0, same - 100), same + 100));
    throw new Error(
      `log: ${excerpt(log)}, client: ${excerpt(this.#received)}, from byte ${same} on`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.resume();
    if (!this.#ended) this.#connection.close();
    await this.#reading;
  }

  async #until(condition: () => boolean, what: string): Promise<void> {
    const signal = patience();
    for (;;) {
      this.verify();
      if (condition()) return;
      if (signal.aborted) {
        const place = `beat ${this.check.beats}, line ${this.#echoed} of ${this.#typed}`;
        const rest = JSON.stringify(this.#received.slice(-300));
        throw new Error(`waited until the guest ${what}: it is at ${place}, after ${rest}`, {
          cause: signal.reason,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const bytes of this.#connection.readable) {
        const text = decoder.decode(bytes, { stream: true });
        this.#received += text;
        this.check.feed(text);
        this.#countEchoes(text);
        if (this.#typing) this.#typeAhead();
        await this.#paused?.promise;
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) this.check.problems.push(`broke: ${error}`);
    }
    this.#ended = true;
  }

  #countEchoes(text: string): void {
    const lines = (this.#echoPart + text).split("\n");
    this.#echoPart = lines.pop() ?? "";
    for (const line of lines.filter((line) => line.startsWith("echo "))) {
      const expected = `echo ${lineOf(this.#echoed + 1)}`;
      if (line !== expected) {
        this.check.problems.push(`${JSON.stringify(line)} in place of '${expected}'`);
      }
      this.#echoed++;
    }
  }

  #typeAhead(): void {
    while (this.#typed < this.#echoed + TYPED_AHEAD) {
      const bytes = new TextEncoder().encode(`e${lineOf(++this.#typed)}\n`);
      this.#writer.write(bytes).catch((error) => this.check.problems.push(`typing: ${error}`));
    }
  }
}

/** The text of a typed line: no two are alike, and no part of one can be taken for another. */
function lineOf(number: number): string {
  return `<${number}>`;
}
