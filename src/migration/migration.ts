/**
 * The machine's migration: its parameters, its status, and the one place where an attempt ends.
 *
 * An attempt either completes, after which the machine is stopped here and goes on elsewhere, or it
 * fails or is cancelled, after which the guest goes on here as if nothing had been. There is no third
 * way out.
 */
import { createMemfd } from "../native/file.ts";
import type { RunState } from "../machine/run_state.ts";
import type { IncomingChannel, OutgoingChannel } from "../channel/channel.ts";
import { IncomingFile, OutgoingFile } from "../channel/file.ts";
import type { Blockers } from "./blockers.ts";
import type { InheritedDescriptors, KeptDescriptor } from "./cpr/descriptors.ts";
import { executeSuccessor, STREAM_NAME } from "./cpr/exec.ts";
import type { Timeline } from "./cpr/timeline.ts";
import { messageOf, MigrationCancelled, MigrationError } from "./errors.ts";
import { receiveMachine } from "./incoming.ts";
import { sendMachine } from "./outgoing.ts";
import { defaultParameters, type MigrationParameters } from "./parameters.ts";
import type { MigratableMachine } from "./source.ts";
import { isUnderWay, type MigrationStatus } from "./status.ts";

/** What a migration needs besides the machine. */
export interface MigrationSurroundings {
  readonly source: MigratableMachine;
  readonly blockers: Blockers;
  /** The moments of a live update. */
  readonly timeline: Timeline;
  /** Tells of a change of status. */
  readonly statusChanged: (status: MigrationStatus) => void;
  /** The descriptors that a live update hands on: RAM, and what subsystems want to keep. */
  readonly keptDescriptors: () => KeptDescriptor[];
  /** Puts everything into its last place before this process's image is replaced. */
  readonly beforeExec: () => Promise<void>;
}

/** Where a migration goes to. */
export interface OutgoingTarget {
  readonly open: () => Promise<OutgoingChannel>;
}

/** A machine's migrations, one at a time. */
export class Migration {
  readonly parameters: MigrationParameters = defaultParameters();
  readonly #surroundings: MigrationSurroundings;
  #status: MigrationStatus = "none";
  #errorDescription: string | undefined;
  #cancelRequested = false;
  #startAfterLoad: boolean;

  constructor(surroundings: MigrationSurroundings, startAfterLoad: boolean) {
    this.#surroundings = surroundings;
    this.#startAfterLoad = startAfterLoad;
  }

  get status(): MigrationStatus {
    return this.#status;
  }

  /** Why the last attempt failed. */
  get errorDescription(): string | undefined {
    return this.#errorDescription;
  }

  /** Whether a loaded machine runs if its source did: `stop` and `cont` before the load change it. */
  set startAfterLoad(start: boolean) {
    this.#startAfterLoad = start;
  }

  /**
   * Starts an attempt. Throws what makes it impossible; what goes wrong later is told by status and
   * error description. Without a target, cpr-exec hands the stream on in memory.
   */
  start(target: OutgoingTarget | undefined): void {
    const { blockers, source } = this.#surroundings;
    const { mode } = this.parameters;
    const command = this.parameters["cpr-exec-command"];
    if (isUnderWay(this.#status)) {
      throw new MigrationError("There's a migration process in progress");
    }
    if (source.machine.runState === "inmigrate") {
      throw new MigrationError("Guest is waiting for an incoming migration");
    }
    if (source.machine.runState === "postmigrate") {
      throw new MigrationError("Can't migrate the vm that was paused due to previous migration");
    }
    blockers.check(mode);
    if (mode === "cpr-exec" && command.length === 0) {
      throw new MigrationError("cpr-exec mode requires setting cpr-exec-command");
    }
    this.#cancelRequested = false;
    this.#errorDescription = undefined;
    this.#setStatus("setup");
    // The monitor's reply goes out first.
    setTimeout(() => void this.#attempt(target, command));
  }

  /** Asks the attempt under way to end. */
  cancel(): void {
    if (!isUnderWay(this.#status) || this.#status === "cancelling") return;
    this.#cancelRequested = true;
    this.#setStatus("cancelling");
  }

  /** Loads the machine from `channel` and runs it if its source ran. */
  async receive(
    channel: IncomingChannel,
    inherited: InheritedDescriptors | undefined,
    adopted: ReadonlySet<string>,
  ): Promise<void> {
    const { source: target, timeline } = this.#surroundings;
    this.#setStatus("setup");
    timeline.mark("machine built");
    try {
      this.#setStatus("active");
      const runState = await receiveMachine({
        target,
        channel,
        offset: 0,
        inPlace: inherited !== undefined,
        inherited: (block) => adopted.has(block.name) || block.backing.kind === "path",
      });
      timeline.mark("state loaded");
      this.#goOn(runState);
      timeline.mark("running");
      this.#setStatus("completed");
    } catch (error) {
      this.#errorDescription = `load of migration failed: ${messageOf(error)}`;
      this.#setStatus("failed");
      throw error;
    }
  }

  async #attempt(
    target: OutgoingTarget | undefined,
    command: readonly string[],
  ): Promise<void> {
    const { source, keptDescriptors, beforeExec, timeline } = this.#surroundings;
    const { mode } = this.parameters;
    const before = source.machine.runState;
    try {
      using channel = target ? await target.open() : new OutgoingFile(createMemfd(STREAM_NAME));
      await sendMachine({
        source,
        mode,
        channel,
        timeline,
        advance: (status) => this.#advance(status),
      });
      source.machine.setRunState("postmigrate");
      this.#setStatus("completed");
      if (mode === "cpr-exec") {
        await beforeExec();
        const stream = target ? [] : [{ name: STREAM_NAME, id: 0, fd: channel.fd }];
        timeline.mark("executing");
        executeSuccessor(command, [...keptDescriptors(), ...stream], [timeline.toEnvironment()]);
      }
    } catch (error) {
      this.#giveUp(error, before);
    }
  }

  /** The one exit of a failed attempt: the guest goes on as it was. */
  #giveUp(error: unknown, before: RunState): void {
    const { machine } = this.#surroundings.source;
    const cancelled = this.#cancelRequested || error instanceof MigrationCancelled;
    if (!cancelled) {
      this.#errorDescription = messageOf(error);
      if (this.#status !== "completed") this.#setStatus("failing");
    }
    machine.goBackTo(before);
    this.#setStatus(cancelled ? "cancelled" : "failed");
  }

  /** What the loaded machine does: what it did at its source, if it is to start at all. */
  #goOn(runState: string): void {
    const { machine } = this.#surroundings.source;
    if (runState === "running") {
      if (this.#startAfterLoad) machine.start();
      else machine.setRunState("paused");
    } else {
      machine.restoreRunState(runState);
    }
  }

  #advance(status: MigrationStatus): void {
    if (this.#cancelRequested) throw new MigrationCancelled();
    this.#setStatus(status);
  }

  #setStatus(status: MigrationStatus): void {
    this.#status = status;
    this.#surroundings.statusChanged(status);
  }
}

/** The stream that cpr-exec handed on in memory, if it did. */
export function inheritedStream(inherited: InheritedDescriptors): IncomingChannel | undefined {
  const descriptor = inherited.take(STREAM_NAME);
  return descriptor && new IncomingFile(descriptor);
}
