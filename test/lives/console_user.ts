/** Somebody at the console of a life's guest. */
import { patience } from "../support/patience.ts";
import { dial } from "./dial.ts";
import type { Life } from "./life.ts";

/** One connection to the console, which reads all that comes. */
export class ConsoleUser implements AsyncDisposable {
  readonly #connection: Deno.Conn;
  readonly #reading: Promise<void>;
  #received = "";
  #ended = false;

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
    this.#reading = this.#read();
  }

  static async connect(life: Life): Promise<ConsoleUser> {
    const path = life.machine.names.console;
    life.journal.note(`a client connects to ${path}`);
    return new ConsoleUser(await dial(path));
  }

  /** The connection has ended, by whichever side. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Types one of the guest's keys. */
  async press(key: string): Promise<void> {
    await this.#connection.write(new TextEncoder().encode(key));
  }

  /** Types a line and waits until the guest has printed it. */
  async echo(text: string): Promise<void> {
    await this.press(`e${text}\n`);
    const signal = patience();
    while (!this.#received.includes(`echo ${text}\n`)) {
      if (signal.aborted) throw new Error(`no echo of '${text}' in ${this.#received.slice(-300)}`);
      if (this.#ended) {
        throw new Error(`the console's connection ended: ${this.#received.slice(-300)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#connection.close();
    await this.#reading;
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(4096);
    const decoder = new TextDecoder();
    try {
      for (;;) {
        const count = await this.#connection.read(buffer);
        if (count === null) break;
        this.#received += decoder.decode(buffer.subarray(0, count), { stream: true });
      }
    } catch (error) {
      const closed = error instanceof Deno.errors.BadResource ||
        error instanceof Deno.errors.Interrupted || error instanceof Deno.errors.ConnectionReset;
      if (!closed) throw error;
    }
    this.#ended = true;
  }
}
