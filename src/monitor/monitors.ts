/** All monitors of the machine, QMP and human, and what they share. */
import type { CharacterPort } from "../backends/character.ts";
import type { CommandTable } from "./command.ts";
import type { MonitorContext } from "./context.ts";
import type { EventHub } from "./events.ts";
import { HumanSession } from "./hmp/session.ts";
import type { SavedSession } from "./saved_session.ts";
import { QmpSession } from "./qmp/session.ts";

/** A monitor as -mon, -qmp and -monitor ask for it. */
export interface MonitorOptions {
  readonly mode: "control" | "readline";
  /** QMP only: one member a line. */
  readonly pretty: boolean;
}

/** What a monitor offers its owner. */
interface Monitor extends Disposable {
  /** What a successor needs to go on with the client; `undefined` if there is none. */
  save(): SavedSession | undefined;
  /** Resolves when the client has been sent everything, or is gone. */
  drained(): Promise<void>;
}

/** A session under the id of its character device. */
export interface SavedMonitor {
  readonly port: string;
  readonly session: SavedSession;
}

/** Makes monitors and closes them. */
export class Monitors implements Disposable {
  readonly #context: MonitorContext;
  readonly #events: EventHub;
  readonly #monitors: { readonly port: string; readonly monitor: Monitor }[] = [];
  #held: PromiseWithResolvers<void> | undefined;
  #commands: Promise<CommandTable> | undefined;
  #runner: Promise<typeof import("./hmp/runner.ts")> | undefined;

  constructor(context: MonitorContext, events: EventHub) {
    this.#context = context;
    this.#events = events;
  }

  /**
   * Puts a monitor on a character device's port. Throws, as the port does, if somebody else uses it.
   * `saved` are the sessions of a predecessor, whose clients go on if their connections do.
   */
  add(port: CharacterPort, options: MonitorOptions, saved: readonly SavedMonitor[] = []): void {
    const context = this.#context;
    const session = saved.find((candidate) => candidate.port === port.id)?.session;
    const monitor = options.mode === "readline"
      ? new HumanSession(
        port,
        { context, runner: () => this.#loadRunner() },
        session?.kind === "human" ? session : undefined,
      )
      : new QmpSession(
        port,
        { context, events: this.#events, commands: () => this.#loadCommands() },
        options.pretty,
        session?.kind === "qmp" ? session : undefined,
      );
    this.#monitors.push({ port: port.id, monitor });
  }

  /** The sessions whose connections survive this process, for its successor. */
  save(): SavedMonitor[] {
    return this.#monitors.flatMap(({ port, monitor }) => {
      const survives = this.#context.chardevs.find(port)?.cpr ?? false;
      const session = survives ? monitor.save() : undefined;
      return session === undefined ? [] : [{ port, session }];
    });
  }

  /**
   * Lets requests wait until {@linkcode preload}: loading the commands takes some 30 ms, and a client
   * that is quick to connect must not have the guest stand still for that.
   */
  hold(): void {
    this.#held ??= Promise.withResolvers<void>();
  }

  /** Loads the commands; otherwise the first request does. Call it when the guest runs. */
  async preload(): Promise<void> {
    this.#held?.resolve();
    await Promise.all([this.#loadCommands(), this.#loadRunner()]);
  }

  /** Resolves when every client has been sent everything, or is gone. */
  async drained(): Promise<void> {
    await Promise.all(this.#monitors.map(({ monitor }) => monitor.drained()));
  }

  async #loadCommands(): Promise<CommandTable> {
    await this.#held?.promise;
    this.#commands ??= import("./commands/index.ts").then(({ commands }) => commands);
    return await this.#commands;
  }

  async #loadRunner(): Promise<typeof import("./hmp/runner.ts")> {
    await this.#held?.promise;
    this.#runner ??= import("./hmp/runner.ts");
    return await this.#runner;
  }

  [Symbol.dispose](): void {
    for (const { monitor } of this.#monitors.splice(0)) monitor[Symbol.dispose]();
  }
}
