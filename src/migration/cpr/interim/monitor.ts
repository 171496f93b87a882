/** The interim monitor as the process that starts it sees it (protocol.ts). */
import { StreamChannel } from "../../../channel/stream.ts";
import { ChannelDescriptor } from "../../../native/channel.ts";
import { asFd, type Descriptor, duplicate, type Fd } from "../../../native/descriptor.ts";
import { createGrowingMemfd } from "../../../native/file.ts";
import {
  awaitChild,
  childStatus,
  describeExit,
  environment,
  type ExitStatus,
  kill,
  spawn,
} from "../../../native/process.ts";
import { socketPair } from "../../../native/socket.ts";
import { hasHungUp } from "../../../native/wait.ts";
import { createErrorFile, forwardErrors, printedTo } from "../../../process/captured_errors.ts";
import { launch } from "../../../process/launch.ts";
import { messageOf, MigrationError } from "../../errors.ts";
import { IncomingSession } from "../../incoming_session.ts";
import { ParameterStore } from "../../parameters.ts";
import { defaultStreamProperties } from "../../properties.ts";
import type { MigratableMachine } from "../../source.ts";
import type { KeptDescriptor } from "../descriptors.ts";
import { Ownership, OWNERSHIP_NAME, RETURN_OWNERSHIP_NAME } from "../ownership.ts";
import { handOverOn } from "../transfer.ts";
import { STANDBY_FILE_NAME, STANDBY_OWNERSHIP_NAME, StandbyNote } from "./standby.ts";
import {
  askForGuest,
  endOf,
  EVENTS_NAME,
  PROCESS_VARIABLE,
  RETURN_NAME,
  SOCKETS_VARIABLE,
  STDERR_NAME,
  SUCCESSOR_ERRORS_NAME,
  TIMEOUT_VARIABLE,
} from "./protocol.ts";

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
  /** The guest is on standby, and this says which file its state is in. */
  #note: StandbyNote | undefined;

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
   * than `successorTimeout` milliseconds. With `file` it is on standby: the guest's state will be there.
   */
  static async start(
    kept: readonly KeptDescriptor[],
    signal: AbortSignal,
    successorTimeout: number,
    file?: Fd,
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
      returnOwnership.kept(RETURN_OWNERSHIP_NAME),
      { name: EVENTS_NAME, id: 0, fd: events.fd },
      ...(file === undefined
        ? [
          ownership.kept(OWNERSHIP_NAME),
          { name: SUCCESSOR_ERRORS_NAME, id: 0, fd: successorErrors.fd },
        ]
        : [
          ownership.kept(STANDBY_OWNERSHIP_NAME),
          { name: STANDBY_FILE_NAME, id: 0, fd: file },
        ]),
    ];
    try {
      await handOverOn(new ChannelDescriptor(cpr), all, signal);
    } catch (cause) {
      if (signal.aborted) throw cause;
      const reason = await process.failure(main.fd) ?? messageOf(cause);
      throw new MigrationError(
        `The guest cannot be left with an interim monitor (${reason}): update by way of a file, ` +
          "with a 'uri' and x-interim-monitor=off, if it must be paused as long as the successor " +
          "takes to start",
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
  takeChannel(): StreamChannel {
    return new StreamChannel(this.#main, true);
  }

  /** Its process id. */
  get pid(): number {
    return this.#process.pid;
  }

  /** The state of a guest on standby is in `file`, and complete. */
  async seal(file: Fd): Promise<void> {
    this.#note = this.#resources.use(await StandbyNote.of(file, this.pid));
  }

  /** What the successor needs to ask for the guest. */
  get kept(): KeptDescriptor[] {
    if (this.#note !== undefined) {
      return this.#note.kept({
        connection: this.#back.fd,
        events: this.#events.fd,
        ownership: this.ownership,
        returnOwnership: this.#returnOwnership,
      });
    }
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
