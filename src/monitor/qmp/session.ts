/**
 * One QMP monitor, with one client at a time.
 *
 *   closed -> a client comes -> greeting -> negotiating: only qmp_capabilities is known
 *          -> qmp_capabilities succeeds -> commands, and events
 *          -> the client leaves -> closed: what it asked for and was not begun is dropped
 *
 * Requests run one after the other in their order, out-of-band requests at once. A client that sends
 * faster than requests run, or does not read the replies, is not read from until that is better.
 */
import type { Descriptor } from "../../native/descriptor.ts";
import type { CharacterEvent, CharacterFrontend, CharacterPort } from "../../backends/character.ts";
import type { Command, CommandTable, Invocation } from "../command.ts";
import type { MonitorContext } from "../context.ts";
import { CommandError, describeError } from "../errors.ts";
import type { EventHub, TimedEvent } from "../events.ts";
import { PortWriter } from "../port_writer.ts";
import { concatenate, decodeBase64, encodeBase64, type SavedQmpSession } from "../saved_session.ts";
import { qemuVersion } from "../version.ts";
import { isJsonObject, type JsonObject, JsonSyntaxError, type JsonValue } from "./json_value.ts";
import { type JsonResult, JsonStreamParser } from "./json_parser.ts";
import { writeJson } from "./json_writer.ts";
import { checkRequest, type QmpRequest } from "./request.ts";

/** Requests waiting at which the client is not read from (QEMU's QMP_REQ_QUEUE_LEN_MAX). */
const QUEUE_LIMIT = 8;
/** Most bytes read at a time: what one read can add to the queue is bounded by it. */
const READ_LIMIT = 4096;
/** Bytes of unread replies at which the client is not read from. */
const REPLIES_LIMIT = 1 << 20;
/** Bytes of unread output at which events are dropped. */
const EVENTS_LIMIT = 16 << 20;

/** What a session needs of its surroundings. */
export interface QmpEnvironment {
  readonly context: MonitorContext;
  readonly events: EventHub;
  /** Loads the command table: lazily, because that takes time. */
  readonly commands: () => Promise<CommandTable>;
}

/** Something the client sent, in its place in the order of replies. */
interface Item {
  readonly result: JsonResult;
  /** What came with it by SCM_RIGHTS. */
  readonly descriptors: readonly Descriptor[];
}

/** The `id` of a request, whatever else it is. */
function idOf({ result }: Item): JsonObject {
  if (result.kind === "error" || !isJsonObject(result.value)) return {};
  return "id" in result.value ? { id: result.value["id"] } : {};
}

function wantsOob({ result }: Item): boolean {
  return result.kind === "value" && isJsonObject(result.value) && "exec-oob" in result.value;
}

/** One client's connection: gone, with all its state, when the client is. */
class Connection implements Disposable {
  negotiated = false;
  oob = false;
  readonly queue: Item[] = [];
  readonly parser: JsonStreamParser;
  /** Descriptors for the next request that is parsed. */
  readonly arrived: Descriptor[] = [];
  /** Descriptors of the request that brought some last, for commands to take. */
  readonly available: Descriptor[] = [];
  busy = false;
  /** What was read of an unfinished request, and where that begins in the stream. */
  #unfinished: Uint8Array[] = [];
  #unfinishedFrom = 0;

  constructor(onResult: (result: JsonResult) => void) {
    this.parser = new JsonStreamParser(onResult);
  }

  feed(bytes: Uint8Array): void {
    const from = this.#unfinishedFrom;
    this.parser.feed(bytes);
    this.#unfinished.push(bytes);
    if (this.parser.settled === from) return;
    this.#unfinished = [this.unfinished.subarray(this.parser.settled - from)];
    this.#unfinishedFrom = this.parser.settled;
  }

  /** The bytes of an unfinished request. */
  get unfinished(): Uint8Array<ArrayBuffer> {
    return concatenate(this.#unfinished);
  }

  [Symbol.dispose](): void {
    for (const item of this.queue.splice(0)) closeAll(item.descriptors);
    closeAll(this.arrived.splice(0));
    closeAll(this.available.splice(0));
  }
}

function closeAll(descriptors: readonly Descriptor[]): void {
  for (const descriptor of descriptors) descriptor[Symbol.dispose]();
}

/** A QMP monitor on a character device. */
export class QmpSession implements CharacterFrontend, Disposable {
  readonly #port: CharacterPort;
  readonly #environment: QmpEnvironment;
  readonly #pretty: boolean;
  readonly #writer: PortWriter;
  readonly #subscription: Disposable;
  #saved: SavedQmpSession | undefined;
  #connection: Connection | undefined;

  /** With `saved`, a client that is there from the beginning goes on with that session. */
  constructor(
    port: CharacterPort,
    environment: QmpEnvironment,
    pretty: boolean,
    saved?: SavedQmpSession,
  ) {
    this.#port = port;
    this.#environment = environment;
    this.#pretty = pretty;
    this.#writer = new PortWriter(port, () => port.acceptInput());
    this.#subscription = environment.events.subscribe((event) => this.#sendEvent(event));
    this.#saved = saved;
    port.attach(this);
    this.#saved = undefined;
  }

  canReceive(): number {
    const connection = this.#connection;
    if (connection === undefined) return 0;
    const blocked = connection.queue.length >= QUEUE_LIMIT ||
      (connection.busy && !connection.oob) || this.#writer.pending > REPLIES_LIMIT;
    return blocked ? 0 : READ_LIMIT;
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    const connection = this.#connection;
    const descriptors = this.#port.takeDescriptors();
    if (connection === undefined) return closeAll(descriptors);
    connection.arrived.push(...descriptors);
    connection.feed(bytes);
  }

  event(event: CharacterEvent): void {
    if (event === "opened") {
      this.#close();
      const connection = new Connection((result) => this.#take(result));
      this.#connection = connection;
      if (this.#saved === undefined) this.#greet();
      else this.#resume(connection, this.#saved);
    } else if (event === "closed") {
      this.#close();
    }
  }

  /** What a successor needs to go on with the client; `undefined` if there is none. */
  save(): SavedQmpSession | undefined {
    const connection = this.#connection;
    if (connection === undefined) return undefined;
    return {
      kind: "qmp",
      negotiated: connection.negotiated,
      oob: connection.oob,
      queue: connection.queue.map(({ result }) =>
        result.kind === "value"
          ? { request: writeJson(result.value) }
          : { error: result.error.message }
      ),
      input: encodeBase64(connection.unfinished),
      output: encodeBase64(this.#writer.unsent),
    };
  }

  /** Resolves when the client has been sent everything, or is gone. */
  async drained(): Promise<void> {
    await this.#writer.drained();
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
    this.#close();
    this.#port.detach();
  }

  #close(): void {
    this.#connection?.[Symbol.dispose]();
    this.#connection = undefined;
    this.#writer.clear();
  }

  #send(message: JsonObject): void {
    this.#writer.write(`${writeJson(message, this.#pretty)}\r\n`);
  }

  #sendEvent(event: TimedEvent): void {
    if (!this.#connection?.negotiated || this.#writer.pending > EVENTS_LIMIT) return;
    this.#send(event);
  }

  #greet(): void {
    const version = { qemu: qemuVersion, package: this.#environment.context.identity.package };
    this.#send({ QMP: { version, capabilities: ["oob"] } });
  }

  #resume(connection: Connection, saved: SavedQmpSession): void {
    connection.negotiated = saved.negotiated;
    connection.oob = saved.oob;
    this.#writer.writeBytes(decodeBase64(saved.output));
    for (const item of saved.queue) {
      if ("request" in item) connection.feed(new TextEncoder().encode(`${item.request} `));
      else this.#take({ kind: "error", error: new JsonSyntaxError(item.error) });
    }
    connection.feed(decodeBase64(saved.input));
  }

  #take(result: JsonResult): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    const item: Item = { result, descriptors: connection.arrived.splice(0) };
    if (connection.oob && wantsOob(item)) {
      void this.#run(connection, item);
      return;
    }
    connection.queue.push(item);
    if (!connection.busy) void this.#work(connection);
  }

  async #work(connection: Connection): Promise<void> {
    connection.busy = true;
    for (;;) {
      const item = connection.queue.shift();
      if (item === undefined) break;
      await this.#run(connection, item);
    }
    connection.busy = false;
    this.#port.acceptInput();
  }

  /** Runs a request and replies, unless the client has gone meanwhile. */
  async #run(connection: Connection, item: Item): Promise<void> {
    let reply: JsonObject;
    try {
      reply = { return: await this.#execute(connection, item), ...idOf(item) };
    } catch (error) {
      reply = { ...idOf(item), error: describeError(error) };
    }
    if (this.#connection === connection) this.#send(reply);
  }

  async #execute(connection: Connection, { result, descriptors }: Item): Promise<JsonValue> {
    if (descriptors.length > 0) closeAll(connection.available.splice(0, Infinity, ...descriptors));
    if (result.kind === "error") throw result.error;
    const request = checkRequest(result.value, connection.oob);
    const commands = await this.#commandsFor(connection, request);
    const command = find(commands, request);
    const invocation: Invocation = {
      commands,
      takeDescriptor: () => connection.available.shift(),
      negotiate: (capabilities) => {
        if (connection.negotiated) {
          const text = "Capabilities negotiation is already complete, command ignored";
          throw new CommandError(text, "CommandNotFound");
        }
        connection.negotiated = true;
        connection.oob = capabilities.includes("oob");
      },
    };
    return await command.invoke(this.#environment.context, request.arguments, invocation);
  }

  /** The commands, once they are loaded: none of them but qmp_capabilities before negotiation. */
  #commandsFor(connection: Connection, { name }: QmpRequest): Promise<CommandTable> {
    if (!connection.negotiated && name !== "qmp_capabilities") {
      const text = "Expecting capabilities negotiation with 'qmp_capabilities'";
      throw new CommandError(text, "CommandNotFound");
    }
    return this.#environment.commands();
  }
}

/** The command that a request names, if it may be run as the request says. */
function find(commands: CommandTable, { name, oob }: QmpRequest): Command {
  const command = commands.get(name);
  if (command === undefined) {
    throw new CommandError(`The command ${name} has not been found`, "CommandNotFound");
  }
  if (oob && !command.oob) throw new CommandError(`The command ${name} does not support OOB`);
  return command;
}
