/**
 * One QMP monitor, with one client at a time.
 *
 *   closed -> a client comes -> greeting -> negotiating: only qmp_capabilities is known
 *          -> qmp_capabilities succeeds -> commands, and events
 *          -> the client leaves -> closed: what it asked for and was not begun is dropped
 *
 * Over a live update: held (requests are kept) -> saved -> restored in the successor, where the client
 * is there already: no greeting, and what the session waits for is answered there.
 *
 * Requests run one after the other in their order, out-of-band requests at once. A client that sends
 * faster than requests run, or does not read the replies, is not read from until that is better.
 */
import { fromByteString, toByteString } from "../../backends/byte_string.ts";
import { closeAll, type Descriptor, type Fd } from "../../native/descriptor.ts";
import type { CharacterEvent, CharacterFrontend, CharacterPort } from "../../backends/character.ts";
import type { Command, CommandTable, Invocation } from "../command.ts";
import { encodeText } from "../../backends/text.ts";
import type { MonitorContext } from "../context.ts";
import { CommandError, describeError } from "../errors.ts";
import type { EventHub, TimedEvent } from "../events.ts";
import { contain } from "../../native/event_loop.ts";
import { reportFault } from "../../native/faults.ts";
import { PortWriter } from "../port_writer.ts";
import {
  concatenate,
  type Restored,
  RestoredSession,
  type SavedQmpSession,
  type SavedRequest,
  type SavedSession,
} from "../saved_session.ts";
import { qemuVersion } from "../version.ts";
import {
  isJsonObject,
  type JsonObject,
  JsonSyntaxError,
  type JsonValue,
} from "../../json/value.ts";
import { type JsonResult, JsonStreamParser } from "../../json/parser.ts";
import { writeJson } from "../../json/writer.ts";
import { checkRequest, type QmpRequest } from "./request.ts";

/** Requests waiting at which the client is not read from (QEMU's QMP_REQ_QUEUE_LEN_MAX). */
const QUEUE_LIMIT = 8;
/** Most bytes read at a time: what one read can add to the queue is bounded by it. */
const READ_LIMIT = 4096;
/** Bytes of unread replies at which the client is not read from. */
const REPLIES_LIMIT = 1 << 20;
/** Bytes of unread output at which events are dropped. */
const EVENTS_LIMIT = 16 << 20;

/** What a session needs of its dependencies. */
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

/** The command that a request names, for messages. */
function nameOf({ result }: Item): string {
  if (result.kind === "error" || !isJsonObject(result.value)) return "";
  return String(result.value["execute"] ?? result.value["exec-oob"] ?? "");
}

function saveItem({ result, descriptors }: Item): SavedRequest {
  const content = result.kind === "value"
    ? { request: writeJson(result.value) }
    : { error: result.error.message };
  return { ...content, descriptors: descriptors.length };
}

function wantsOob({ result }: Item): boolean {
  return result.kind === "value" && isJsonObject(result.value) && "exec-oob" in result.value;
}

/** One client's connection: gone, with all its state, when the client is. */
class Connection implements Disposable {
  negotiated = false;
  /** It has been sent the answer to qmp_capabilities, before which no event comes. */
  hearsEvents = false;
  oob = false;
  readonly queue: Item[] = [];
  readonly parser: JsonStreamParser;
  /** Descriptors for the next request that is parsed. */
  readonly arrived: Descriptor[] = [];
  /** Descriptors of the request that brought some last, for commands to take. */
  readonly available: Descriptor[] = [];
  busy = false;
  /** What is read was read before: by a predecessor, which has reported what is wrong with it. */
  repeating = false;
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

/** A QMP monitor on a character device. */
export class QmpSession implements CharacterFrontend, Disposable {
  readonly #port: CharacterPort;
  readonly #environment: QmpEnvironment;
  readonly #pretty: boolean;
  readonly #writer: PortWriter;
  readonly #subscription: Disposable;
  readonly #restored = new RestoredSession("qmp");
  #connection: Connection | undefined;
  #held = false;
  #open = false;
  /** The commands that are being run. */
  readonly #running: string[] = [];
  #settling: (() => void)[] = [];

  constructor(port: CharacterPort, environment: QmpEnvironment, pretty: boolean) {
    this.#port = port;
    this.#environment = environment;
    this.#pretty = pretty;
    this.#writer = new PortWriter(port, () => port.acceptInput());
    this.#subscription = environment.events.subscribe((event) => this.#sendEvent(event));
    port.attach(this);
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
    contain(() => connection.feed(bytes), (fault) => this.#fail(fault));
  }

  event(event: CharacterEvent): void {
    contain(() => this.#connectionChanged(event), (fault) => this.#fail(fault));
  }

  #connectionChanged(event: CharacterEvent): void {
    if (event === "opened") {
      this.#open = true;
      this.#close();
      const connection = new Connection((result) => this.#take(result));
      this.#connection = connection;
      const restored = this.#restored.take();
      if (restored === undefined) this.#greet();
      else this.#resume(connection, restored);
    } else if (event === "closed") {
      this.#open = false;
      this.#close();
    }
  }

  /** Begins no more requests: those that come are kept. */
  hold(): void {
    this.#held = true;
  }

  /** Goes on after {@linkcode hold}. */
  release(): void {
    this.#held = false;
    const connection = this.#connection;
    if (connection === undefined) return;
    const oob = connection.oob ? connection.queue.filter(wantsOob) : [];
    for (const item of oob) {
      connection.queue.splice(connection.queue.indexOf(item), 1);
      this.#start(() => this.#run(connection, item));
    }
    if (!connection.busy) this.#start(() => this.#work(connection));
  }

  /** Does what a client has asked for, while it may ask for more. */
  #start(work: () => Promise<void>): void {
    work().catch((fault) => this.#fail(fault));
  }

  /** The command that is being run and whose reply would be lost with this process. */
  get busyWith(): string | undefined {
    return this.#running[0];
  }

  /** Resolves when there is no such command. */
  async settled(): Promise<void> {
    while (this.#running.length > 0) {
      await new Promise<void>((resolve) => this.#settling.push(resolve));
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
      available: connection.available.length,
      queue: connection.queue.map(saveItem),
      arrived: connection.arrived.length,
      input: toByteString(connection.unfinished),
      output: toByteString(this.#writer.unsent),
    };
  }

  /** The descriptors that belong to what {@linkcode save} returns. */
  descriptors(): readonly Fd[] {
    const connection = this.#connection;
    if (connection === undefined) return [];
    return [
      ...connection.available,
      ...connection.queue.flatMap(({ descriptors }) => descriptors),
      ...connection.arrived,
    ].map(({ fd }) => fd);
  }

  /** A client that is there next has been a predecessor's. */
  restore(saved: SavedSession, descriptors: readonly Descriptor[]): void {
    this.#restored.put(saved, descriptors);
  }

  /** Nobody was there: the next client is a new one. */
  forget(): void {
    this.#restored[Symbol.dispose]();
  }

  /** Resolves when the client has been sent everything, or is gone. */
  async drained(): Promise<void> {
    await this.#writer.drained();
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
    this.forget();
    this.#close();
    this.#port.detach();
  }

  #close(): void {
    this.#connection?.[Symbol.dispose]();
    this.#connection = undefined;
    this.#writer.clear();
  }

  /**
   * What was done for the client has failed: its connection ends, and the next client is served. Where the
   * connection cannot end, on a terminal, the session begins anew.
   */
  #fail(fault: unknown): void {
    reportFault(fault, `monitor '${this.#port.id}'`);
    this.#close();
    this.#port.disconnect();
    if (this.#open) this.#connectionChanged("opened");
    this.#port.acceptInput();
  }

  #send(message: JsonObject): void {
    this.#writer.write(`${writeJson(message, this.#pretty)}\r\n`);
  }

  #sendEvent(event: TimedEvent): void {
    if (!this.#connection?.hearsEvents || this.#writer.pending > EVENTS_LIMIT) return;
    this.#send(event);
  }

  #greet(): void {
    const version = { qemu: qemuVersion, package: this.#environment.context.identity.package };
    this.#send({ QMP: { version, capabilities: ["oob"] } });
  }

  #resume(
    connection: Connection,
    { saved, descriptors }: Restored<SavedQmpSession>,
  ): void {
    const left = [...descriptors];
    connection.negotiated = saved.negotiated;
    connection.hearsEvents = saved.negotiated;
    connection.oob = saved.oob;
    connection.available.push(...left.splice(0, saved.available));
    this.#writer.writeBytes(fromByteString(saved.output));
    // The guest, which is about to go on, must not wait for the first parsing of requests.
    const repeat = () => this.#repeat(connection, saved, left);
    queueMicrotask(() => contain(repeat, (fault) => this.#fail(fault)));
  }

  /** Takes in again what a predecessor has read and not begun. */
  #repeat(connection: Connection, saved: SavedQmpSession, left: Descriptor[]): void {
    if (this.#connection !== connection) return closeAll(left);
    for (const item of saved.queue) {
      connection.arrived.push(...left.splice(0, item.descriptors));
      if ("request" in item) connection.feed(encodeText(`${item.request} `));
      else this.#take({ kind: "error", error: new JsonSyntaxError(item.error) });
    }
    connection.arrived.push(...left.splice(0, saved.arrived));
    connection.repeating = true;
    connection.feed(fromByteString(saved.input));
    connection.repeating = false;
    closeAll(left);
    this.#port.acceptInput();
  }

  #take(result: JsonResult): void {
    const connection = this.#connection;
    if (connection === undefined || connection.repeating) return;
    const item: Item = { result, descriptors: connection.arrived.splice(0) };
    if (connection.oob && wantsOob(item) && !this.#held) {
      this.#start(() => this.#run(connection, item));
      return;
    }
    connection.queue.push(item);
    if (!connection.busy) this.#start(() => this.#work(connection));
  }

  async #work(connection: Connection): Promise<void> {
    connection.busy = true;
    while (!this.#held) {
      const item = connection.queue.shift();
      if (item === undefined) break;
      await this.#run(connection, item);
    }
    connection.busy = false;
    this.#port.acceptInput();
  }

  /** Runs a request and replies, unless the client has disconnected meanwhile. */
  async #run(connection: Connection, item: Item): Promise<void> {
    const name = nameOf(item);
    this.#running.push(name);
    let reply: JsonObject;
    try {
      reply = { return: await this.#execute(connection, item), ...idOf(item) };
    } catch (error) {
      reply = { ...idOf(item), error: describeError(error) };
    }
    try {
      if (this.#connection === connection) this.#send(reply);
      connection.hearsEvents = connection.negotiated;
    } finally {
      this.#running.splice(this.#running.indexOf(name), 1);
      for (const resolve of this.#settling.splice(0)) resolve();
    }
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
