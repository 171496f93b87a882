/**
 * A QMP client.
 *
 *   connect -> the server's greeting -> qmp_capabilities -> commands and events -> the end
 *
 * Commands carry numbers, so that several can be under way and one that nobody waits for any more
 * does no harm. The connection ends when either side closes it; commands under way fail then.
 *
 *   await using client = await QmpClient.connect("/run/vm/qmp.sock");
 *   const { status } = await client.execute("query-status");
 */
import { TextLineStream } from "@std/streams";
import { formatQmpAddress, parseQmpAddress, type QmpAddress } from "./address.ts";
import { type QmpArguments, type QmpCommandName, qmpCommands, type QmpResult } from "./commands.ts";
import {
  QmpCommandError,
  QmpConnectError,
  QmpDisconnectedError,
  QmpError,
  QmpProtocolError,
} from "./errors.ts";
import { type KnownEventName, QmpEvents, readEvent } from "./events.ts";
import { type QmpGreeting, type QmpMessage, readMessage } from "./messages.ts";

/** How often a server that is not there yet is looked for, in milliseconds. */
const RETRY_INTERVAL = 10;

/** A connection to a server. */
export type QmpConnection = Pick<Deno.Conn, "readable" | "writable" | "close">;

/** How to connect. */
export interface QmpConnectOptions {
  /** Ends the attempt with a QmpConnectError whose cause is the signal's reason. */
  readonly signal?: AbortSignal;
  /** Waits for a server that is not there yet: use it with a signal. */
  readonly wait?: boolean;
  /** How the connection is made: by default Deno's, which needs its permission. */
  readonly open?: (address: QmpAddress) => Promise<QmpConnection>;
}

/** How to execute a command. */
export interface QmpExecuteOptions {
  /** Ends the waiting (not the command); its reason is thrown. */
  readonly signal?: AbortSignal;
  /** Runs before the commands that wait, if the server can: see QmpClient.outOfBand. */
  readonly outOfBand?: boolean;
}

interface Waiting {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A negotiated connection to a QMP server. */
export class QmpClient implements Disposable, AsyncDisposable {
  readonly address: QmpAddress;
  /** Resolves when the connection has ended. */
  readonly closed: Promise<void>;
  readonly #connection: QmpConnection;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #waiting = new Map<number, Waiting>();
  readonly #streams = new Set<QmpEvents<string>>();
  readonly #greeted = Promise.withResolvers<QmpGreeting>();
  #greeting: QmpGreeting | undefined;
  #outOfBand = false;
  #nextId = 1;
  #failure: QmpError | undefined;

  private constructor(address: QmpAddress, connection: QmpConnection) {
    this.address = address;
    this.#connection = connection;
    this.#writer = connection.writable.getWriter();
    this.#greeted.promise.catch(() => {});
    this.closed = this.#read();
  }

  /** Connects to a server and negotiates; `address` is as parseQmpAddress reads it. */
  static async connect(
    address: string | QmpAddress,
    { signal, wait = false, open = openConnection }: QmpConnectOptions = {},
  ): Promise<QmpClient> {
    const target = typeof address === "string" ? parseQmpAddress(address) : address;
    for (;;) {
      try {
        return await QmpClient.#connectOnce(target, open, signal);
      } catch (error) {
        const absent = error instanceof QmpConnectError || error instanceof QmpDisconnectedError;
        if (!wait || !absent || signal?.aborted) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_INTERVAL));
    }
  }

  static async #connectOnce(
    address: QmpAddress,
    open: (address: QmpAddress) => Promise<QmpConnection>,
    signal: AbortSignal | undefined,
  ): Promise<QmpClient> {
    const client = new QmpClient(address, await opened(address, open));
    try {
      await client.#negotiate(signal);
      return client;
    } catch (error) {
      client[Symbol.dispose]();
      if (!signal?.aborted) throw error;
      throw new QmpConnectError(
        `${formatQmpAddress(address)} does not answer: is another client connected to it?`,
        { cause: signal.reason },
      );
    }
  }

  /** What the server said of itself. */
  get greeting(): QmpGreeting {
    if (this.#greeting === undefined) throw new QmpError("not negotiated");
    return this.#greeting;
  }

  /** Whether the server runs commands out of band. */
  get outOfBand(): boolean {
    return this.#outOfBand;
  }

  /** Executes a command that the client knows by type and checks what it returns. */
  async execute<N extends QmpCommandName>(
    command: N,
    ...[given, options]: Record<string, never> extends QmpArguments<N>
      ? [given?: QmpArguments<N>, options?: QmpExecuteOptions]
      : [given: QmpArguments<N>, options?: QmpExecuteOptions]
  ): Promise<QmpResult<N>> {
    const { arguments: taken, returns } = qmpCommands[command];
    const parsed = taken.safeParse(given ?? {});
    if (!parsed.success) {
      throw new QmpError(`arguments of ${command}: ${parsed.error.message}`, {
        cause: parsed.error,
      });
    }
    const value = await this.executeUntyped(command, parsed.data, options);
    const result = returns.safeParse(value);
    if (!result.success) {
      throw new QmpProtocolError(`result of ${command}: ${result.error.message}`, {
        cause: result.error,
      });
    }
    return result.data as QmpResult<N>;
  }

  /** Executes any command. */
  async executeUntyped(
    command: string,
    given: Readonly<Record<string, unknown>> = {},
    { signal, outOfBand = false }: QmpExecuteOptions = {},
  ): Promise<unknown> {
    signal?.throwIfAborted();
    if (this.#failure) throw this.#failure;
    const id = this.#nextId++;
    const execute = outOfBand && this.#outOfBand ? "exec-oob" : "execute";
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const abort = () => reject(signal?.reason);
    signal?.addEventListener("abort", abort);
    this.#waiting.set(id, { command, resolve, reject });
    try {
      this.#send({ [execute]: command, arguments: given, id });
      return await promise;
    } finally {
      this.#waiting.delete(id);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** A stream of the events of these names from now on, or of all events. */
  events<N extends KnownEventName>(...names: N[]): QmpEvents<N>;
  events(...names: string[]): QmpEvents;
  events(...names: string[]): QmpEvents {
    const stream = new QmpEvents(names, () => this.#streams.delete(stream));
    this.#streams.add(stream);
    if (this.#failure) stream.end();
    return stream;
  }

  /** Ends the connection. */
  [Symbol.dispose](): void {
    this.#end(new QmpDisconnectedError("the connection was closed here"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    await this.closed;
  }

  async #negotiate(signal: AbortSignal | undefined): Promise<void> {
    const { promise, reject } = this.#greeted;
    const abort = () => reject(signal?.reason);
    signal?.addEventListener("abort", abort);
    try {
      signal?.throwIfAborted();
      this.#greeting = await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    const outOfBand = this.#greeting.capabilities.includes("oob");
    const options = signal === undefined ? {} : { signal };
    await this.execute("qmp_capabilities", outOfBand ? { enable: ["oob"] } : {}, options);
    this.#outOfBand = outOfBand;
  }

  #send(request: Readonly<Record<string, unknown>>): void {
    const bytes = new TextEncoder().encode(`${JSON.stringify(request)}\n`);
    // A write fails when the connection has ended: the reader reports it, after what still came.
    this.#writer.write(bytes).catch(() => {});
  }

  async #read(): Promise<void> {
    try {
      const lines: ReadableStream<string> = this.#connection.readable
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new TextLineStream());
      // With pretty=on a message is several lines: the first is `{`, the last is `}`.
      let pretty = "";
      for await (const line of lines) {
        if (line === "{" || pretty !== "") {
          pretty += line;
          if (line !== "}") continue;
        }
        const text = pretty || line;
        if (text !== "") this.#take(text);
        pretty = "";
      }
      this.#end(new QmpDisconnectedError("the server closed the connection"));
    } catch (cause) {
      this.#end(new QmpDisconnectedError("the connection broke", { cause }));
    }
  }

  #take(text: string): void {
    try {
      this.#dispatch(parse(text));
    } catch (error) {
      if (!(error instanceof QmpProtocolError)) throw error;
      // Nothing that follows can be trusted. The reader finds the connection closed.
      this.#end(error);
    }
  }

  #dispatch(message: QmpMessage): void {
    switch (message.kind) {
      case "greeting":
        return this.#greeted.resolve(message.greeting);
      case "event": {
        const event = readEvent(message);
        for (const stream of this.#streams) stream.push(event);
        return;
      }
      case "return":
        return this.#find(message.id)?.resolve(message.value);
      case "error": {
        const { class: errorClass, desc } = message.error;
        // The server could not even say which command it is about.
        if (message.id === undefined) throw new QmpProtocolError(`the server says: ${desc}`);
        const waiting = this.#find(message.id);
        return waiting?.reject(new QmpCommandError(waiting.command, errorClass, desc));
      }
    }
  }

  #find(id: unknown): Waiting | undefined {
    return typeof id === "number" ? this.#waiting.get(id) : undefined;
  }

  /** The one end of a connection, whatever the reason. */
  #end(reason: QmpError): void {
    if (this.#failure) return;
    this.#failure = reason;
    this.#greeted.reject(reason);
    for (const waiting of this.#waiting.values()) waiting.reject(reason);
    for (const stream of this.#streams) stream.end();
    this.#writer.abort().catch(() => {});
    try {
      this.#connection.close();
    } catch (error) {
      // Its streams have closed it already when the server left.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }
}

async function openConnection(address: QmpAddress): Promise<QmpConnection> {
  return address.transport === "unix"
    ? await Deno.connect({ transport: "unix", path: address.path })
    : await Deno.connect(address);
}

async function opened(
  address: QmpAddress,
  open: (address: QmpAddress) => Promise<QmpConnection>,
): Promise<QmpConnection> {
  try {
    return await open(address);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new QmpConnectError(`cannot connect to ${formatQmpAddress(address)}: ${reason}`, {
      cause,
    });
  }
}

function parse(text: string): QmpMessage {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new QmpProtocolError(`not JSON: ${excerpt(text)}`, { cause });
  }
  const message = readMessage(json);
  if (!message) throw new QmpProtocolError(`not a QMP message: ${excerpt(text)}`);
  return message;
}

function excerpt(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}
