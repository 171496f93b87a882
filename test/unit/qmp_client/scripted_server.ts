/** A QMP server for one client that answers as a test says. */
import { TextLineStream } from "@std/streams";

/** What a server gets of a client. */
export interface Request {
  readonly execute?: string;
  readonly "exec-oob"?: string;
  readonly arguments: Record<string, unknown>;
  readonly id: number;
}

export const greeting = {
  QMP: {
    version: { qemu: { micro: 3, minor: 1, major: 11 }, package: "test" },
    capabilities: ["oob"],
  },
};

/** Listens on a unix socket in a directory of its own. */
export class ScriptedServer implements AsyncDisposable {
  readonly path: string;
  readonly requests: Request[] = [];
  readonly #directory = Deno.makeTempDirSync();
  readonly #listener: Deno.Listener;
  readonly #done: Promise<void>;
  #connection: Deno.Conn | undefined;

  /** `answer` gives the messages to send, in order, for each request after negotiation. */
  constructor(
    answer: (request: Request) => readonly unknown[],
    readonly form: { readonly pretty?: boolean; readonly silent?: boolean } = {},
  ) {
    this.path = `${this.#directory}/qmp.sock`;
    this.#listener = Deno.listen({ transport: "unix", path: this.path });
    this.#done = this.#serve(answer);
  }

  /** Sends a message, or text as it is. */
  async send(message: unknown): Promise<void> {
    const text = typeof message === "string"
      ? message
      : `${JSON.stringify(message, undefined, this.form.pretty ? 4 : undefined)}\r\n`;
    await this.#connection?.write(new TextEncoder().encode(text));
  }

  /** Hangs up. */
  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.close();
    await this.#done;
    await Deno.remove(this.#directory, { recursive: true });
  }

  async #serve(answer: (request: Request) => readonly unknown[]): Promise<void> {
    try {
      const connection = await this.#listener.accept();
      this.#connection = connection;
      if (!this.form.silent) await this.send(greeting);
      const lines: ReadableStream<string> = connection.readable
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new TextLineStream());
      for await (const line of lines) {
        const request: Request = JSON.parse(line);
        this.requests.push(request);
        const messages = request.execute === "qmp_capabilities"
          ? [{ return: {}, id: request.id }]
          : answer(request);
        for (const message of messages) await this.send(message);
      }
    } catch (error) {
      // The test or the client ended the connection, at whatever moment.
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
        return;
      }
      throw error;
    }
  }
}
