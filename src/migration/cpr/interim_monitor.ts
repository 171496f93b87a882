/**
 * The interim monitor: a second process of the same program that has the guest while the first one executes
 * its successor. A start takes the runtime a tenth of a second; the guest runs on meanwhile, and stands
 * still only for two handovers of a millisecond or so.
 *
 *   process P (old)                 interim monitor                      process P (new)
 *   starts it, hands over
 *   descriptors (transfer.ts)   ->  builds the machine
 *                               <-  closes that connection
 *   stops the guest, stream     ->  runs the guest
 *   execve ................................................->      builds the machine
 *                                                           <-     one byte: ready
 *                                   stops the guest, stream ->     runs the guest
 *                                   ends
 *
 * Both streams are those of cpr-transfer, each with a flag that decides who has the guest (ownership.ts),
 * so it is in one process at each moment. If execve fails, the old P asks for the guest back in the same
 * way. If the new P ends without having asked, or does not ask in time and is ended, the interim monitor still
 * has the guest and goes on as its monitor. The events of the guest's time there are left in a file for
 * the successor's clients.
 */
import type { StreamChannel as Channel } from "../../channel/stream.ts";
import { StreamChannel } from "../../channel/stream.ts";
import { ChannelDescriptor } from "../../native/channel.ts";
import { asFd, Descriptor, duplicate, type Fd, setCloseOnExec } from "../../native/descriptor.ts";
import { Errno, SystemError } from "../../native/errors.ts";
import { createGrowingMemfd, readAt, status, writeAt } from "../../native/file.ts";
import {
  awaitChild,
  childStatus,
  describeExit,
  environment,
  type ExitStatus,
  getEnvironment,
  kill,
  parentId,
  spawn,
  unsetEnvironment,
} from "../../native/process.ts";
import { socketPair } from "../../native/socket.ts";
import { hasHungUp } from "../../native/wait.ts";
import {
  type CapturedErrors,
  createErrorFile,
  forwardErrors,
  printedTo,
  releaseErrors,
} from "../../process/captured_errors.ts";
import { launch } from "../../process/launch.ts";
import { messageOf, MigrationError } from "../errors.ts";
import { IncomingSession } from "../incoming_session.ts";
import { ParameterStore } from "../parameters.ts";
import { defaultStreamProperties } from "../properties.ts";
import type { MigratableMachine } from "../source.ts";
import { InheritedDescriptors, type KeptDescriptor } from "./descriptors.ts";
import { Ownership, OWNERSHIP_NAME, RETURN_OWNERSHIP_NAME } from "./ownership.ts";
import { handOverOn } from "./transfer.ts";

/** Numbers of the interim monitor's ends: descriptors, stream, way back. */
const SOCKETS_VARIABLE = "MOLT_CARETAKER_SOCKETS";
/** The interim monitor's process id, for the successor that waits for its end. */
const PROCESS_VARIABLE = "MOLT_CARETAKER_PROCESS";
/** How long the interim monitor waits for the successor, in ms. */
const TIMEOUT_VARIABLE = "MOLT_SUCCESSOR_TIMEOUT";
/** If the process that started it does not say so. */
const DEFAULT_TIMEOUT = 30_000;
/** How long a process that is killed may take to end, and how often that is looked at, in ms. */
const ENDING_TIME = 2000;
const ENDING_INTERVAL = 20;
/** The name of the way back among the descriptors handed on. */
const RETURN_NAME = "molt.caretaker";
/** The name of the file with the events. */
const EVENTS_NAME = "molt.caretaker.events";
/** The names of what the successor prints to until it has the guest, and of this process's standard error. */
const SUCCESSOR_ERRORS_NAME = "molt.successor.errors";
const STDERR_NAME = "molt.stderr";
/** Most bytes of events that a successor reads. */
const EVENTS_LIMIT = 16 << 20;
const READY = 1;
const SIGKILL = 9;

/** An interim monitor as the process that started it sees it. */
export class InterimMonitor implements Disposable {
  /** Who has the guest, of this process and the interim monitor. */
  readonly ownership: Ownership;
  readonly #process: InterimMonitorProcess;
  readonly #resources: DisposableStack;
  /** Who has it afterwards, of the interim monitor and whoever asks for it. */
  readonly #returnOwnership: Ownership;
  readonly #main: Descriptor;
  readonly #back: Descriptor;
  readonly #events: Descriptor;
  readonly #stderr: Descriptor;
  /** What the successor prints to until it has the guest. */
  readonly #successorErrors: Descriptor;

  private constructor(parts: InterimMonitorParts, resources: DisposableStack) {
    this.#process = parts.process;
    this.#resources = resources;
    this.ownership = parts.ownership;
    this.#returnOwnership = parts.returnOwnership;
    this.#main = parts.main;
    this.#back = parts.back;
    this.#events = parts.events;
    this.#stderr = parts.stderr;
    this.#successorErrors = parts.successorErrors;
  }

  /**
   * Starts one and waits until it has built its machine from `kept`. It will wait for a successor no longer
   * than `successorTimeout` milliseconds.
   */
  static async start(
    kept: readonly KeptDescriptor[],
    signal: AbortSignal,
    successorTimeout: number,
  ): Promise<InterimMonitor> {
    using undo = new DisposableStack();
    const pairs = [socketPair(), socketPair(), socketPair()] as const;
    for (const ends of pairs) for (const end of ends) undo.use(end);
    const ownership = undo.use(Ownership.create());
    const returnOwnership = undo.use(Ownership.create());
    const events = undo.use(createGrowingMemfd(EVENTS_NAME));
    const stderr = undo.use(duplicate(asFd(2)));
    const errors = undo.use(createErrorFile());
    const successorErrors = undo.use(createErrorFile());
    const process = undo.use(
      new InterimMonitorProcess({
        sockets: pairs.map(([, end]) => end.fd),
        stderr: stderr.fd,
        errors: errors.fd,
        successorTimeout,
        flags: { ownership, returnOwnership },
      }),
    );
    // Its death must be seen as the end of these connections.
    for (const [, end] of pairs) end[Symbol.dispose]();
    const [[cpr], [main], [back]] = pairs;
    const all = [
      ...kept,
      ownership.kept(OWNERSHIP_NAME),
      returnOwnership.kept(RETURN_OWNERSHIP_NAME),
      { name: EVENTS_NAME, id: 0, fd: events.fd },
      { name: SUCCESSOR_ERRORS_NAME, id: 0, fd: successorErrors.fd },
    ];
    try {
      await handOverOn(new ChannelDescriptor(cpr), all, signal);
    } catch (cause) {
      if (signal.aborted) throw cause;
      const reason = await process.failure(main.fd) ?? messageOf(cause);
      throw new MigrationError(
        `The guest cannot be left with an interim monitor (${reason}): update by way of a file, ` +
          "with a 'uri', if it must be paused as long as the successor takes to start",
        { cause },
      );
    }
    const parts = {
      ...{ process, ownership, returnOwnership, main, back },
      ...{ events, stderr, successorErrors },
    };
    return new InterimMonitor(parts, undo.move());
  }

  /** The stream of the machine goes here. The channel is the caller's. */
  takeChannel(): Channel {
    return new StreamChannel(this.#main, true);
  }

  /** Its process id. */
  get pid(): number {
    return this.#process.pid;
  }

  /** What the successor needs to ask for the guest. */
  get kept(): KeptDescriptor[] {
    return [
      { name: RETURN_NAME, id: 0, fd: this.#back.fd },
      { name: EVENTS_NAME, id: 0, fd: this.#events.fd },
      { name: STDERR_NAME, id: 0, fd: this.#stderr.fd },
      { name: SUCCESSOR_ERRORS_NAME, id: 0, fd: this.#successorErrors.fd },
      this.#returnOwnership.kept(OWNERSHIP_NAME),
    ];
  }

  /** What the successor's standard error is until it has the guest. */
  get successorErrors(): Fd {
    return this.#successorErrors.fd;
  }

  /**
   * Why it does not do what it was asked for: how it ended, and what it printed before. `undefined` if it
   * has not ended.
   */
  async failure(): Promise<string | undefined> {
    return await this.#process.failure(this.#back.fd);
  }

  /** `NAME=value` for the successor. */
  get variable(): string {
    return `${PROCESS_VARIABLE}=${this.#process.pid}`;
  }

  /** Takes the guest back into this process's own machine, which is left stopped. Returns its run state. */
  async giveBack(machine: MigratableMachine): Promise<string> {
    using channel = new StreamChannel(this.#back.duplicate(), true);
    await askForGuest(channel);
    const names = new Set(machine.blocks.map(({ name }) => name));
    const parameters = new ParameterStore().values;
    await using session = new IncomingSession(
      {
        handedOver: () => ({ names, ownership: this.#returnOwnership }),
        capabilities: () => new Set(),
        parameters: () => parameters,
        stream: defaultStreamProperties,
      },
      machine,
      channel,
      [],
    );
    const runState = await session.load();
    await session.takeOver();
    await session.end();
    return runState;
  }

  /** Ends the interim monitor, unless it has the guest. */
  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}

/** The flags of the way there and of the way back. */
interface BothOwnerships {
  readonly ownership: Ownership;
  readonly returnOwnership: Ownership;
}

/** What an interim monitor is started with. All descriptors stay the caller's. */
interface InterimMonitorOptions {
  /** Its ends: descriptors, stream, way back. */
  readonly sockets: readonly Fd[];
  /** Its standard error once it is ready for the guest. */
  readonly stderr: Fd;
  /** The file that it prints to until then. */
  readonly errors: Fd;
  /** In milliseconds. */
  readonly successorTimeout: number;
  readonly flags: BothOwnerships;
}

/** The process itself. It is ended before its connections are, which would have it stay. */
class InterimMonitorProcess implements Disposable {
  readonly pid: number;
  readonly #flags: BothOwnerships;
  readonly #errors: Fd;
  #end: ExitStatus | undefined;

  constructor({ sockets, stderr, errors, successorTimeout, flags }: InterimMonitorOptions) {
    this.#flags = flags;
    this.#errors = errors;
    const given = [...sockets, stderr, errors];
    const options = {
      descriptors: [...given.map((fd) => [fd, fd] as const), [errors, 2] as const],
      environment: [
        ...environment(),
        `${SOCKETS_VARIABLE}=${given.join(",")}`,
        `${TIMEOUT_VARIABLE}=${successorTimeout}`,
      ],
    };
    this.pid = launch.inFolder(() => spawn(launch.ownCommand, options));
  }

  /** How it ended and what it printed, if its end of `connection` is closed; `undefined` if it has not ended. */
  async failure(connection: Fd): Promise<string | undefined> {
    if (!hasHungUp(connection)) return undefined;
    const end = await endOf(() => this.#status());
    if (end === undefined) return undefined;
    forwardErrors(this.#errors);
    return `process ${this.pid} ${describeExit(end)}${printedTo(this.#errors)}`;
  }

  /** How it has ended. The kernel says so once. */
  #status(): ExitStatus | undefined {
    return this.#end ??= childStatus(this.pid);
  }

  /** It has taken the guest, which has not come back. If it has not, it never will from here on. */
  get #hasGuest(): boolean {
    const { ownership, returnOwnership } = this.#flags;
    return !ownership.keep() && returnOwnership.decision !== "taken";
  }

  [Symbol.dispose](): void {
    if (this.#hasGuest) return;
    if (this.#status() !== undefined) return;
    kill(this.pid, SIGKILL);
    // The kernel keeps its entry until somebody has asked.
    awaitChild(this.pid).catch(() => {});
  }
}

/** What a {@linkcode InterimMonitor} is made of. */
interface InterimMonitorParts {
  readonly process: InterimMonitorProcess;
  readonly ownership: Ownership;
  readonly returnOwnership: Ownership;
  readonly main: Descriptor;
  readonly back: Descriptor;
  readonly events: Descriptor;
  readonly stderr: Descriptor;
  readonly successorErrors: Descriptor;
}

/** Waits a moment for the end of a process whose connections are closed: `status` says how it ended. */
async function endOf(status: () => ExitStatus | undefined): Promise<ExitStatus | undefined> {
  const until = performance.now() + ENDING_TIME;
  for (;;) {
    const end = status();
    if (end !== undefined || performance.now() > until) return end;
    await new Promise((resolve) => setTimeout(resolve, ENDING_INTERVAL));
  }
}

/** The ends that an interim monitor was started with. */
export interface InterimMonitorSockets {
  /** Descriptors come here. */
  readonly cpr: Descriptor;
  /** The guest comes here. */
  readonly main: Descriptor;
  /** And leaves here. */
  readonly back: Descriptor;
  /** The process that has started this one, and executes the successor. */
  readonly successor: number;
  /** How long it may take until it asks for the guest, in ms. */
  readonly successorTimeout: number;
  /** Where this process's errors go until it is ready; absent if a molt without it has started this one. */
  readonly errors: CapturedErrors | undefined;
}

/** The ends that this process was started with, if it is an interim monitor. */
export function takeInterimMonitorSockets(): InterimMonitorSockets | undefined {
  const value = getEnvironment(SOCKETS_VARIABLE);
  if (value === undefined) return undefined;
  unsetEnvironment(SOCKETS_VARIABLE);
  const ends = value.split(",").map((number) => new Descriptor(Number(number)));
  const [cpr, main, back, stream, file] = ends;
  if (!cpr || !main || !back) throw new Error(`${SOCKETS_VARIABLE} is '${value}'`);
  for (const { fd } of ends) setCloseOnExec(fd, true);
  const timeout = Number(getEnvironment(TIMEOUT_VARIABLE) ?? DEFAULT_TIMEOUT);
  unsetEnvironment(TIMEOUT_VARIABLE);
  const successorTimeout = timeout > 0 ? timeout : DEFAULT_TIMEOUT;
  const errors = stream && file && { stream, file };
  return { cpr, main, back, successor: parentId(), successorTimeout, errors };
}

/** What the interim monitor hears from the successor: that it is ready for the guest, its end, or nothing. */
export type SuccessorCall = "ready" | "ended" | "silent";

/** Waits for the successor, no longer than `milliseconds`. The channel is of no use after `silent`. */
export async function awaitSuccessor(
  channel: Channel,
  milliseconds: number,
): Promise<SuccessorCall> {
  const request = new Uint8Array(1);
  let silent = false;
  const timer = setTimeout(() => {
    silent = true;
    channel.cancel();
  }, Math.max(0, milliseconds));
  try {
    const count = await channel.read(request).catch(() => 0);
    if (count === 1 && request[0] === READY) return "ready";
    return silent ? "silent" : "ended";
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Ends a successor that will not get the guest any more: it would put itself in the place of this process's
 * sockets if it started in the end. `pid` is this process's parent, if it has not ended.
 */
export async function endSuccessor(pid: number): Promise<void> {
  if (parentId() !== pid) return;
  kill(pid, SIGKILL);
  const until = performance.now() + ENDING_TIME;
  while (parentId() === pid && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, ENDING_INTERVAL));
  }
}

async function askForGuest(channel: Channel): Promise<void> {
  await channel.write(Uint8Array.of(READY));
}

/** What an interim monitor got beside the guest. */
export interface InterimMonitorDuties {
  /** The flag that decides when somebody asks for the guest. */
  readonly ownership: Ownership;
  /** Takes the events of the guest's time here. */
  readonly events: Descriptor;
  /** What the successor prints to; absent if a molt without it has started this process. */
  readonly successorErrors: Descriptor | undefined;
}

/** Takes over what the process that started this interim monitor handed over for it. */
export function takeDuties(handedOver: InheritedDescriptors): InterimMonitorDuties {
  using undo = new DisposableStack();
  const ownership = handedOver.take(RETURN_OWNERSHIP_NAME);
  if (ownership === undefined) {
    throw new MigrationError("an interim monitor needs an ownership flag for the return");
  }
  const word = undo.use(Ownership.adopt(ownership));
  const events = handedOver.take(EVENTS_NAME);
  if (events === undefined) throw new MigrationError("an interim monitor needs a file for events");
  undo.move();
  return { ownership: word, events, successorErrors: handedOver.take(SUCCESSOR_ERRORS_NAME) };
}

/** Leaves `events` for the successor's clients. */
export function leaveEvents(file: Descriptor, events: readonly unknown[]): void {
  writeAt(file.fd, new Uint8Array(new TextEncoder().encode(JSON.stringify(events))), 0);
}

/** The guest waits with an interim monitor that the process before this one started. */
export class WaitingGuest implements Disposable {
  readonly channel: Channel;
  readonly #events: Descriptor | undefined;
  readonly #errors: CapturedErrors | undefined;
  readonly #pid: number | undefined;

  /** `pid` is the interim monitor's. */
  constructor(
    connection: Descriptor,
    events: Descriptor | undefined,
    errors: CapturedErrors | undefined,
    pid: number | undefined,
  ) {
    this.channel = new StreamChannel(connection, true);
    this.#events = events;
    this.#errors = errors;
    this.#pid = pid;
  }

  /** Says that this process is ready for the guest, which then comes through the channel. */
  async call(): Promise<void> {
    await askForGuest(this.channel);
  }

  /** The guest is here: nobody else reads what this process prints any more. */
  arrived(): void {
    releaseErrors(this.#errors);
  }

  /**
   * The error to report where the guest did not come because of `error`: if the interim monitor has ended,
   * the guest has ended with it. If not, the guest stays there, and the error is this process's own.
   */
  async failure(error: unknown): Promise<unknown> {
    const pid = this.#pid;
    if (pid === undefined || !hasHungUp(this.channel.fd)) return error;
    const end = await endOf(() => childStatus(pid)).catch(() => undefined);
    if (end === undefined) return error;
    releaseErrors(this.#errors);
    return new MigrationError(
      `the guest is lost: the interim monitor that had it, process ${pid}, ${describeExit(end)}`,
      { cause: error },
    );
  }

  /** The events of the guest's time there, when it has come. */
  events(): unknown[] {
    if (this.#events === undefined) return [];
    const { size } = status(this.#events.fd);
    if (size === 0 || size > EVENTS_LIMIT) return [];
    const bytes = new Uint8Array(size);
    if (readAt(this.#events.fd, bytes, 0) !== size) return [];
    const events: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return Array.isArray(events) ? events : [];
  }

  /** Whether an event of this name is among them. */
  has(name: string): boolean {
    return this.events().some((event) =>
      typeof event === "object" && event !== null && "event" in event && event.event === name
    );
  }

  [Symbol.dispose](): void {
    this.channel[Symbol.dispose]();
    this.#events?.[Symbol.dispose]();
    this.#errors?.stream[Symbol.dispose]();
    this.#errors?.file[Symbol.dispose]();
  }
}

/** The guest that waits for this process, if an interim monitor, process `pid`, has it. */
export function takeWaitingGuest(
  adopt: (name: string) => Descriptor | undefined,
  pid: number | undefined,
): WaitingGuest | undefined {
  const connection = adopt(RETURN_NAME);
  const events = adopt(EVENTS_NAME);
  const stream = adopt(STDERR_NAME);
  const file = adopt(SUCCESSOR_ERRORS_NAME);
  const errors = stream && file && { stream, file };
  return connection && new WaitingGuest(connection, events, errors, pid);
}

/** The process id of the interim monitor that the process before this one started, if there is one. */
export function takeInterimMonitorPid(): number | undefined {
  const value = getEnvironment(PROCESS_VARIABLE);
  unsetEnvironment(PROCESS_VARIABLE);
  const pid = Number(value);
  return value !== undefined && Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
}

/** Waits for the end of the interim monitor `pid`, a child of this process's. */
export async function reapInterimMonitor(pid: number): Promise<void> {
  try {
    await awaitChild(pid);
  } catch (error) {
    // A successor that a script started as a child is no parent of it.
    if (!(error instanceof SystemError && error.errno === Errno.ECHILD)) throw error;
  }
}
