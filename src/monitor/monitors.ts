/** All monitors of the machine, QMP and human, and what they share. */
import type { CharacterPort } from "../backends/character.ts";
import type { Descriptor, Fd } from "../native/descriptor.ts";
import type { CommandTable } from "./command.ts";
import type { MonitorContext } from "./context.ts";
import type { EventHub } from "./events.ts";
import { HumanSession } from "./hmp/session.ts";
import { isSavedSession, type SavedSession } from "./saved_session.ts";
import { QmpSession } from "./qmp/session.ts";

/** A monitor as -mon, -qmp and -monitor ask for it. */
export interface MonitorOptions {
  readonly mode: "control" | "readline";
  /** QMP only: one member a line. */
  readonly pretty: boolean;
}

/** What a monitor offers its owner. */
interface Monitor extends Disposable {
  /** Begins nothing more: requests that come are kept. */
  hold(): void;
  /** Goes on after that. */
  release(): void;
  /** The command that is being run and would be lost with this process. */
  readonly busyWith: string | undefined;
  /** Resolves when there is no such command. */
  settled(): Promise<void>;
  /** What a successor needs to go on with the client; `undefined` if there is none. */
  save(): SavedSession | undefined;
  /** The descriptors that belong to it. */
  descriptors(): readonly Fd[];
  /** A client that is there next goes on with `saved`, if that is of this kind. */
  restore(saved: SavedSession, descriptors: readonly Descriptor[]): void;
  /** No client was there: the next one is a new one. */
  forget(): void;
  /** Resolves when the client has been sent everything, or is gone. */
  drained(): Promise<void>;
}

/** A monitor's session, and where it was. */
export interface SavedMonitor {
  /** The id of its character device. */
  readonly port: string;
  /** Which of the monitors there: a multiplexer has several. */
  readonly index: number;
  readonly session: SavedSession;
}

/** A descriptor under the name that finds it again in a successor. */
interface NamedDescriptor {
  readonly name: string;
  readonly id: number;
  readonly fd: Fd;
}

/** A command runs that a live update would cut off. */
export class MonitorBusyError extends Error {
  override readonly name = "MonitorBusyError";
}

/** Milliseconds that commands of clients whose sessions go on may still take. */
const SETTLING_TIME = 500;
/** Milliseconds for what the other clients have not been sent: their connections end. */
const DRAINING_TIME = 100;

interface Place {
  readonly port: string;
  readonly index: number;
  readonly monitor: Monitor;
}

/** What the registry calls the descriptors of a monitor's session. */
function descriptorName({ port, index }: { readonly port: string; readonly index: number }) {
  return `monitor/${port}/${index}`;
}

/** Makes monitors and closes them. */
export class Monitors implements Disposable {
  readonly #context: MonitorContext;
  readonly #events: EventHub;
  readonly #places: Place[] = [];
  #held: PromiseWithResolvers<void> | undefined;
  #commands: Promise<CommandTable> | undefined;
  #runner: Promise<typeof import("./hmp/runner.ts")> | undefined;

  constructor(context: MonitorContext, events: EventHub) {
    this.#context = context;
    this.#events = events;
  }

  /** Puts a monitor on a character device's port. Throws, as the port does, if somebody else uses it. */
  add(port: CharacterPort, options: MonitorOptions): void {
    const context = this.#context;
    const monitor: Monitor = options.mode === "readline"
      ? new HumanSession(port, { context, runner: () => this.#loadRunner() })
      : new QmpSession(
        port,
        { context, events: this.#events, commands: () => this.#loadCommands() },
        options.pretty,
      );
    const index = this.#places.filter((place) => place.port === port.id).length;
    this.#places.push({ port: port.id, index, monitor });
  }

  /** Takes the monitors off a character device, with all they know. */
  remove(port: string): void {
    for (const place of this.#places.filter((candidate) => candidate.port === port)) {
      place.monitor[Symbol.dispose]();
      this.#places.splice(this.#places.indexOf(place), 1);
    }
  }

  /** True if there is a client whose session survives this process. */
  get survive(): boolean {
    return this.#places.some((place) =>
      this.#survives(place) && place.monitor.save() !== undefined
    );
  }

  /**
   * Begins no more requests of clients whose sessions go on elsewhere, and waits for those that are being
   * run. Throws a {@linkcode MonitorBusyError} if one takes too long whose client would miss the reply.
   * With `wholly`, the other clients' connections are about to end: they are sent what they can take.
   */
  async suspend(wholly: boolean): Promise<void> {
    const surviving = this.#places.filter((place) => this.#survives(place));
    const ending = wholly ? this.#places.filter((place) => !this.#survives(place)) : [];
    for (const { monitor } of [...surviving, ...ending]) monitor.hold();
    this.#events.flush();
    await Promise.all([
      within(SETTLING_TIME, surviving.map(({ monitor }) => monitor.settled())),
      within(DRAINING_TIME, ending.map(({ monitor }) => monitor.drained())),
    ]);
    for (const { port, monitor: { busyWith } } of surviving) {
      if (busyWith === undefined) continue;
      throw new MonitorBusyError(`The monitor on '${port}' is still busy with '${busyWith}'`);
    }
  }

  /** Goes on after {@linkcode suspend}. */
  resume(): void {
    for (const { monitor } of this.#places) monitor.release();
  }

  /** The sessions whose connections survive this process, for its successor. */
  save(): SavedMonitor[] {
    return this.#places.flatMap((place) => {
      const session = this.#survives(place) ? place.monitor.save() : undefined;
      return session === undefined ? [] : [{ port: place.port, index: place.index, session }];
    });
  }

  /** The descriptors that belong to {@linkcode save}'s sessions. */
  descriptors(): NamedDescriptor[] {
    return this.#places.filter((place) => this.#survives(place)).flatMap((place) =>
      place.monitor.descriptors().map((fd, id) => ({ name: descriptorName(place), id, fd }))
    );
  }

  /**
   * Clients that are there next go on with the sessions that a predecessor has saved, until
   * {@linkcode begin}. What is no session, or no monitor's, is left out.
   */
  restore(saved: unknown, adopt: (name: string, id: number) => Descriptor | undefined): void {
    for (const { port, index, session } of Array.isArray(saved) ? saved.filter(isSaved) : []) {
      const place = this.#places.find((found) => found.port === port && found.index === index);
      place?.monitor.restore(session, adoptAll(descriptorName({ port, index }), adopt));
    }
  }

  /** The clients that predecessors had are there. */
  begin(): void {
    for (const { monitor } of this.#places) monitor.forget();
  }

  /**
   * Lets requests wait until {@linkcode serve}: the guest is not here yet, and a client that is quick to
   * connect must not pause it.
   */
  hold(): void {
    this.#held ??= Promise.withResolvers<void>();
  }

  /** Answers requests from now on. */
  serve(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  /** Loads the commands, which takes some 30 ms; otherwise the first request does. */
  async preload(): Promise<void> {
    await Promise.all([this.#importCommands(), this.#importRunner()]);
  }

  /** Resolves when every client has been sent everything, or is gone. */
  async drained(): Promise<void> {
    await within(DRAINING_TIME, this.#places.map(({ monitor }) => monitor.drained()));
  }

  async #loadCommands(): Promise<CommandTable> {
    await this.#held?.promise;
    return await this.#importCommands();
  }

  async #loadRunner(): Promise<typeof import("./hmp/runner.ts")> {
    await this.#held?.promise;
    return await this.#importRunner();
  }

  #importCommands(): Promise<CommandTable> {
    return this.#commands ??= import("./commands/index.ts").then(
      ({ commands }) => commands,
      (cause) => {
        // No descriptor left, say: the next request tries again.
        this.#commands = undefined;
        throw cause;
      },
    );
  }

  #importRunner(): Promise<typeof import("./hmp/runner.ts")> {
    return this.#runner ??= import("./hmp/runner.ts").catch((cause) => {
      this.#runner = undefined;
      throw cause;
    });
  }

  #survives({ port }: Place): boolean {
    return this.#context.chardevs.find(port)?.cpr ?? false;
  }

  [Symbol.dispose](): void {
    for (const { monitor } of this.#places.splice(0)) monitor[Symbol.dispose]();
  }
}

/** Waits for all, but no longer than `milliseconds`. */
async function within(milliseconds: number, all: readonly Promise<void>[]): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<void>((resolve) => timer = setTimeout(resolve, milliseconds));
  await Promise.race([Promise.all(all), limit]);
  clearTimeout(timer);
}

function isSaved(value: unknown): value is SavedMonitor {
  if (typeof value !== "object" || value === null) return false;
  const { port, index, session }: { port?: unknown; index?: unknown; session?: unknown } = value;
  return typeof port === "string" && typeof index === "number" && isSavedSession(session);
}

/** The descriptors that a predecessor left under `name`, in order. */
function adoptAll(
  name: string,
  adopt: (name: string, id: number) => Descriptor | undefined,
): Descriptor[] {
  const all: Descriptor[] = [];
  for (let next = adopt(name, 0); next !== undefined; next = adopt(name, all.length)) {
    all.push(next);
  }
  return all;
}
