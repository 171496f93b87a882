/** A QMP client that writes everything down: tests see what a client for use would not show. */
import { TextLineStream } from "@std/streams";
import { patience } from "./patience.ts";

/** An event as it came. */
export interface RecordedEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

interface Waiting {
  readonly command: string;
  readonly reply: PromiseWithResolvers<unknown>;
}

type Message = Readonly<Record<string, unknown>>;

function isMessage(value: unknown): value is Message {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isEvent(message: Message): message is Message & RecordedEvent {
  return typeof message["event"] === "string" && isMessage(message["timestamp"]);
}

/**
 * One connection, from the greeting on. What must not happen on it - a second greeting, a reply that is
 * nobody's or comes twice, something that is no message, events that go back in time - is a problem.
 */
export class QmpTranscript implements AsyncDisposable {
  /** One line of text each. */
  readonly problems: string[] = [];
  readonly events: RecordedEvent[] = [];
  /** How many requests were answered. */
  answered = 0;
  /** Resolves when the connection has ended. */
  readonly closed: Promise<void>;
  readonly #connection: Deno.Conn;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #waiting = new Map<number, Waiting>();
  readonly #greeted = Promise.withResolvers<void>();
  #greetings = 0;
  #nextId = 1;
  #listeners: (() => void)[] = [];
  #ended = false;

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
    this.#writer = connection.writable.getWriter();
    this.#greeted.promise.catch(() => {});
    this.closed = this.#read();
  }

  /** Connects to the monitor at the unix socket `path` and negotiates. */
  static async connect(path: string): Promise<QmpTranscript> {
    const transcript = new QmpTranscript(await Deno.connect({ transport: "unix", path }));
    await transcript.#greeted.promise;
    await transcript.request("qmp_capabilities");
    return transcript;
  }

  /** Sends a request and returns what it is answered. Throws if that is an error. */
  async request(command: string, given: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = this.#nextId++;
    const reply = Promise.withResolvers<unknown>();
    reply.promise.catch(() => {});
    this.#waiting.set(id, { command, reply });
    const request = `${JSON.stringify({ execute: command, arguments: given, id })}\n`;
    await this.#writer.write(new TextEncoder().encode(request));
    return await reply.promise;
  }

  /** Waits until `count` events of this name have come since the connection began. */
  async awaitEvents(name: string, count: number, signal = patience()): Promise<void> {
    const expired = Promise.withResolvers<never>();
    const expire = () => {
      const names = this.events.map(({ event }) => event).join(" ");
      const reason = `${this.count(name)} of ${count} events ${name} have come: ${names}`;
      expired.reject(new Error(reason, { cause: signal.reason }));
    };
    signal.addEventListener("abort", expire, { once: true });
    try {
      while (this.count(name) < count) {
        if (this.#ended) throw new Error(`the connection ended before event ${count} ${name}`);
        const change = new Promise<void>((resolve) => this.#listeners.push(resolve));
        await Promise.race([change, expired.promise]);
      }
    } finally {
      signal.removeEventListener("abort", expire);
    }
  }

  /** How many events of this name have come. */
  count(name: string): number {
    return this.events.filter(({ event }) => event === name).length;
  }

  /** What is still unanswered. */
  get unanswered(): string[] {
    return Array.from(this.#waiting, ([id, { command }]) => `${id} ${command}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#connection.close();
    await this.closed;
  }

  async #read(): Promise<void> {
    try {
      const lines: ReadableStream<string> = this.#connection.readable
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new TextLineStream());
      for await (const line of lines) this.#take(line);
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) this.problems.push(`broke: ${error}`);
    }
    this.#ended = true;
    const end = new Error("the connection has ended");
    this.#greeted.reject(end);
    for (const { reply } of this.#waiting.values()) reply.reject(end);
    this.#changed();
  }

  #take(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      message = undefined;
    }
    if (!isMessage(message)) this.#problem("no message", line);
    else if ("QMP" in message) this.#greet(line);
    else if (isEvent(message)) this.#event(message, line);
    else this.#reply(message, line);
    this.#changed();
  }

  #greet(line: string): void {
    if (++this.#greetings > 1) this.#problem("greeted again", line);
    this.#greeted.resolve();
  }

  #event(event: RecordedEvent, line: string): void {
    const time = ({ timestamp }: RecordedEvent) =>
      timestamp.seconds * 1_000_000 + timestamp.microseconds;
    const last = this.events.at(-1);
    if (last !== undefined && time(event) < time(last)) this.#problem("back in time", line);
    this.events.push(event);
  }

  #reply(message: Message, line: string): void {
    const { id } = message;
    const waiting = typeof id === "number" ? this.#waiting.get(id) : undefined;
    if (waiting === undefined) return this.#problem("answers nothing that waits", line);
    if (typeof id === "number") this.#waiting.delete(id);
    this.answered++;
    if ("return" in message) waiting.reply.resolve(message["return"]);
    else waiting.reply.reject(new Error(`${waiting.command}: ${JSON.stringify(message["error"])}`));
  }

  #problem(what: string, line: string): void {
    this.problems.push(`${what}: ${line}`);
  }

  #changed(): void {
    for (const resolve of this.#listeners.splice(0)) resolve();
  }
}
