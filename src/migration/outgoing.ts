/**
 * The source of a migration, one phase after the other:
 *
 *   setup        the channel opens; cpr-transfer: the destination takes over the descriptors before
 *   begin        header, configuration, commands, block list
 *   active       pages, while the guest runs (CPR modes stop it first)
 *   switchover   the guest stops; pre-switchover waits here
 *   device       the remaining pages, every device's state, the description
 *   handover     with a return path, the destination says that it has the guest
 *   completed    cpr-exec: the successor is executed
 *
 * Whatever fails, and whenever somebody cancels, there is one exit: the guest goes on here as it was.
 */
import { openOutgoing } from "../channel/outgoing.ts";
import type { ChannelAddress } from "../channel/address.ts";
import type { OutgoingChannel } from "../channel/channel.ts";
import { OutgoingFile } from "../channel/file.ts";
import type { RunState } from "../machine/run_state.ts";
import { createMemfd } from "../native/file.ts";
import type { CapabilitySet } from "./capabilities.ts";
import { executeSuccessor, STREAM_NAME } from "./cpr/exec.ts";
import { Ownership, OWNERSHIP_NAME } from "./cpr/ownership.ts";
import { handOverDescriptors } from "./cpr/transfer.ts";
import { messageOf, MigrationCancelled, MigrationError } from "./errors.ts";
import { type MigrationInformation, ramInformation } from "./information.ts";
import { OutgoingSession, type SessionOwner } from "./outgoing_session.ts";
import type { MigrationMode, MigrationParameters } from "./parameters.ts";
import type { StreamProperties } from "./properties.ts";
import { isUnderWay, type MigrationStatus, type MigrationStatusName } from "./status.ts";
import type { MigratableMachine } from "./source.ts";
import type { MigrationSurroundings } from "./surroundings.ts";

/** What a migration is to do. */
export interface OutgoingPlan {
  readonly mode: MigrationMode;
  /** Absent: cpr-exec hands the stream on in memory. */
  readonly main: ChannelAddress | undefined;
  /** Where cpr-transfer hands over descriptors. */
  readonly cpr: ChannelAddress | undefined;
  readonly capabilities: CapabilitySet;
  readonly stream: StreamProperties;
  /** The parameters now: some may change while the migration runs. */
  readonly parameters: () => MigrationParameters;
}

/** Milliseconds on a clock that does not jump. */
function now(): number {
  return Math.round(performance.now());
}

/** One attempt to move the machine. */
export class OutgoingMigration {
  readonly #surroundings: MigrationSurroundings;
  readonly #source: MigratableMachine;
  readonly #plan: OutgoingPlan;
  readonly #cancelled = new AbortController();
  readonly #continued = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #opening: Promise<OutgoingChannel> | undefined;
  #status: MigrationStatus = "none";
  #errorDescription: string | undefined;
  #ownership: Ownership | undefined;
  #session: OutgoingSession | undefined;
  /** What the machine would be doing now if there were no migration; set while that stops it. */
  #resumeState: RunState | undefined;
  #startTime = 0;
  #activeTime: number | undefined;
  #stopTime: number | undefined;
  #endTime: number | undefined;

  constructor(
    surroundings: MigrationSurroundings,
    source: MigratableMachine,
    plan: OutgoingPlan,
  ) {
    this.#surroundings = surroundings;
    this.#source = source;
    this.#plan = plan;
  }

  get status(): MigrationStatus {
    return this.#status;
  }

  get mode(): MigrationMode {
    return this.#plan.mode;
  }

  /** Resolves when the attempt has ended, in whatever way. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Opens what can be opened at once. Throws, the attempt having failed, if that cannot be done. */
  begin(): void {
    this.#startTime = now();
    this.#setStatus("setup");
    // The destination of a cpr-transfer listens when it has the descriptors.
    if (this.#plan.mode === "cpr-transfer") return;
    try {
      this.#opening = Promise.resolve(this.#open());
      // Its error is met in run().
      this.#opening.catch(() => {});
    } catch (error) {
      this.#giveUp(error);
      throw error;
    }
  }

  /** Moves the machine. The outcome is told by {@linkcode status}. */
  async run(): Promise<void> {
    try {
      if (this.#plan.mode === "cpr-transfer") await this.#handOverDescriptors();
      using channel = await (this.#opening ?? this.#open());
      this.#session = new OutgoingSession(this.#owner(), channel);
      await this.#session.run();
      this.#handedOver();
      this.#complete();
      if (this.#plan.mode === "cpr-exec") await this.#executeSuccessor(channel);
    } catch (error) {
      // A destination that has taken the guest has it, whatever happened to the connection.
      if (this.#ownership?.keep() === false) {
        this.#handedOver();
        this.#complete();
      } else this.#giveUp(error);
    } finally {
      this.#ownership?.[Symbol.dispose]();
    }
  }

  /** Asks the attempt to end. */
  cancel(): void {
    if (!isUnderWay(this.#status) || this.#cancelled.signal.aborted) return;
    this.#setStatus("cancelling");
    this.#cancelled.abort();
  }

  /** Leaves pre-switchover. */
  continueFrom(status: MigrationStatusName): void {
    if (this.#status !== status) {
      throw new MigrationError(`Migration not in expected state: ${this.#status}`);
    }
    if (status === "pre-switchover") this.#continued.resolve();
  }

  /** The user wants the guest stopped: wherever it goes on, it does not run. */
  userStopped(): void {
    if (this.#resumeState === "running") this.#resumeState = "paused";
  }

  /** Its part of query-migrate. */
  information(): MigrationInformation {
    const status = this.#status;
    const time = (from: number, to: number | undefined) => Math.max(0, (to ?? now()) - from);
    const statistics = this.#session?.statistics;
    const base: MigrationInformation = {
      status,
      ...(this.#errorDescription === undefined ? {} : { "error-desc": this.#errorDescription }),
    };
    if (this.#activeTime === undefined || statistics === undefined) return base;
    const details: MigrationInformation = {
      ...base,
      "total-time": time(this.#startTime, this.#endTime),
      "setup-time": time(this.#startTime, this.#activeTime),
      "ram": ramInformation(statistics),
    };
    switch (status) {
      case "active":
      case "cancelling":
      case "pre-switchover":
      case "device":
        return {
          ...details,
          "remaining": statistics.remaining,
          "expected-downtime": statistics.expectedDowntime ??
            this.#plan.parameters()["downtime-limit"],
          ...(statistics.cpuThrottlePercentage === undefined
            ? {}
            : { "cpu-throttle-percentage": statistics.cpuThrottlePercentage }),
        };
      case "completed":
        return { ...details, "downtime": time(this.#stopTime ?? now(), this.#endTime) };
      default:
        return base;
    }
  }

  async #handOverDescriptors(): Promise<void> {
    const { cpr } = this.#plan;
    if (cpr === undefined) throw new MigrationError("missing 'cpr' migration channel");
    this.#ownership = Ownership.create();
    const ownership = { name: OWNERSHIP_NAME, id: 0, fd: this.#ownership.fd };
    const kept = [...this.#surroundings.leaving.announce(), ownership];
    await handOverDescriptors(cpr, kept, this.#cancelled.signal);
  }

  /** What the session asks of this. */
  #owner(): SessionOwner {
    return {
      source: this.#source,
      plan: this.#plan,
      signal: this.#cancelled.signal,
      ownership: this.#ownership,
      connect: () => this.#open(),
      advance: (status) => {
        if (this.#cancelled.signal.aborted) throw new MigrationCancelled();
        if (status === "active") this.#activeTime = now();
        this.#setStatus(status);
      },
      stop: () => this.#stop(),
      runState: () => this.#resumeState ?? this.#source.machine.runState,
      continued: this.#continued.promise,
      // What is dirty is looked at once more when the guest has stopped; that is no pass.
      passBegan: (pass) => this.#status === "active" && this.#surroundings.passBegan(pass),
      saved: () => this.#surroundings.timeline.mark("saved"),
      handingOver: () => this.#surroundings.leaving.suspend(false),
    };
  }

  #open(): OutgoingChannel | Promise<OutgoingChannel> {
    const { main } = this.#plan;
    if (main === undefined) return new OutgoingFile(createMemfd(STREAM_NAME));
    return openOutgoing(main, this.#surroundings.given, this.#cancelled.signal);
  }

  /** Stops the guest for good, unless this has stopped it before. */
  #stop(): void {
    if (this.#resumeState !== undefined) return;
    const { machine } = this.#source;
    const { timeline } = this.#surroundings;
    if (this.#cancelled.signal.aborted) throw new MigrationCancelled();
    timeline.mark("stop begins");
    this.#resumeState = machine.runState;
    this.#stopTime = now();
    machine.stop("finish-migrate");
    timeline.mark("stopped");
  }

  /** A destination has the guest, and with it all that survives if it shares the word: not QEMU. */
  #handedOver(): void {
    if (this.#ownership === undefined) return;
    const { leaving } = this.#surroundings;
    if (this.#ownership.keep()) leaving.stay();
    else leaving.leave();
  }

  #complete(): void {
    this.#source.machine.setRunState("postmigrate");
    this.#endTime = now();
    this.#setStatus("completed");
    if (this.#plan.mode !== "cpr-exec") this.#ended.resolve();
  }

  async #executeSuccessor(channel: OutgoingChannel): Promise<void> {
    const { leaving, timeline } = this.#surroundings;
    await leaving.suspend(true);
    const inMemory = this.#plan.main === undefined;
    const stream = inMemory ? [{ name: STREAM_NAME, id: 0, fd: channel.fd }] : [];
    timeline.mark("executing");
    executeSuccessor(
      this.#plan.parameters()["cpr-exec-command"],
      [...leaving.collect(), ...stream],
      [timeline.toEnvironment()],
    );
  }

  /** The one exit of an attempt that did not succeed: the guest goes on as it was. */
  #giveUp(error: unknown): void {
    const { machine } = this.#source;
    const cancelled = this.#cancelled.signal.aborted;
    if (!cancelled) {
      this.#errorDescription = messageOf(this.#session?.reasonOf(error) ?? error);
      if (this.#status !== "completed") this.#setStatus("failing");
    }
    const stoppedHere = machine.runState === "finish-migrate" || machine.runState === "postmigrate";
    if (this.#resumeState !== undefined && stoppedHere) machine.goBackTo(this.#resumeState);
    this.#surroundings.leaving.stay();
    this.#endTime = now();
    this.#setStatus(cancelled ? "cancelled" : "failed");
    this.#ended.resolve();
  }

  #setStatus(status: MigrationStatus): void {
    this.#status = status;
    this.#surroundings.statusChanged(status);
  }
}
