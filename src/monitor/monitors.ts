/** All monitors of the machine, QMP and human, and what they share. */
import type { CharacterPort } from "../backends/character.ts";
import type { CommandTable } from "./command.ts";
import type { MonitorContext } from "./context.ts";
import type { EventHub } from "./events.ts";
import { HumanSession } from "./hmp/session.ts";
import { QmpSession } from "./qmp/session.ts";

/** A monitor as -mon, -qmp and -monitor ask for it. */
export interface MonitorOptions {
  readonly mode: "control" | "readline";
  /** QMP only: one member a line. */
  readonly pretty: boolean;
}

/** What a monitor offers its owner. */
interface Monitor extends Disposable {
  /** Resolves when the client has been sent everything, or is gone. */
  drained(): Promise<void>;
}

/** Makes monitors and closes them. */
export class Monitors implements Disposable {
  readonly #context: MonitorContext;
  readonly #events: EventHub;
  readonly #monitors: Monitor[] = [];
  #commands: Promise<CommandTable> | undefined;
  #runner: Promise<typeof import("./hmp/runner.ts")> | undefined;

  constructor(context: MonitorContext, events: EventHub) {
    this.#context = context;
    this.#events = events;
  }

  /**
   * Puts a monitor on a character device's port. Throws, as the port does, if somebody else uses it.
   */
  add(port: CharacterPort, options: MonitorOptions): void {
    const context = this.#context;
    const monitor = options.mode === "readline"
      ? new HumanSession(port, { context, runner: () => this.#loadRunner() })
      : new QmpSession(
        port,
        { context, events: this.#events, commands: () => this.#loadCommands() },
        options.pretty,
      );
    this.#monitors.push(monitor);
  }

  /**
   * Loads the commands, which takes some 10 ms: otherwise the first request does. Call it when the
   * guest runs.
   */
  async preload(): Promise<void> {
    await Promise.all([this.#loadCommands(), this.#loadRunner()]);
  }

  /** Resolves when every client has been sent everything, or is gone. */
  async drained(): Promise<void> {
    await Promise.all(this.#monitors.map((monitor) => monitor.drained()));
  }

  #loadCommands(): Promise<CommandTable> {
    this.#commands ??= import("./commands/index.ts").then(({ commands }) => commands);
    return this.#commands;
  }

  #loadRunner(): Promise<typeof import("./hmp/runner.ts")> {
    this.#runner ??= import("./hmp/runner.ts");
    return this.#runner;
  }

  [Symbol.dispose](): void {
    for (const monitor of this.#monitors.splice(0)) monitor[Symbol.dispose]();
  }
}
