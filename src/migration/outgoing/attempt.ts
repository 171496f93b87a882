/**
 * One attempt to move the machine away, one phase after the other:
 *
 *   setup        the channel opens; cpr-transfer: the destination takes over the descriptors before
 *   begin        header, configuration, commands, block list
 *   active       pages, while the guest runs (CPR modes stop it first)
 *   switchover   the guest stops; pre-switchover waits here
 *   device       the remaining pages, every device's state, the description
 *   handover     with a return path, the destination says that it has the guest
 *   completed    cpr-exec: the successor is executed (exec.ts)
 *
 * Whatever fails, and whenever somebody cancels, there is one exit: the guest goes on here as it was. If
 * the destination may have it and cannot be asked any more, the guest stays stopped, in `postmigrate`, and
 * an operator decides.
 */
import type { ChannelAddress } from "../../channel/address.ts";
import type { OutgoingChannel } from "../../channel/channel.ts";
import { openOutgoing } from "../../channel/outgoing.ts";
import type { RunState } from "../../machine/run_state.ts";
import { report } from "../../process/messages.ts";
import type { MigrationDependencies } from "../dependencies.ts";
import { messageOf, MigrationCancelled, MigrationError, OwnerUnknownError } from "../errors.ts";
import { type MigrationInformation, ramInformation } from "../information.ts";
import type { MigrationMode } from "../parameters.ts";
import type { Phase } from "../phases.ts";
import type { MigratableMachine } from "../source.ts";
import type { MigrationStatusName } from "../../qapi/names.ts";
import { isUnderWay, type MigrationStatus } from "../status.ts";
import { limitSilence } from "../tcp_limits.ts";
import { modeOf, type OutgoingPlan } from "./plan.ts";
import { OutgoingSession, type SessionOwner } from "./session.ts";
import { createStrategy } from "./strategies.ts";
import type { SendOptions, Strategy, StrategyContext } from "./strategy.ts";

/** Milliseconds on a clock that does not jump. */
function now(): number {
  return Math.round(performance.now());
}

/** Where the guest is, and what it is to do if it goes on here. */
type GuestPlace =
  /** Here, and this attempt has not stopped it. */
  | { readonly kind: "running" }
  /** Here, stopped by this attempt; `resumeState` is what it did, or what a user has asked for since. */
  | { readonly kind: "stopped"; readonly resumeState: RunState }
  /** Another process may run it: this one must not, whatever fails. */
  | { readonly kind: "elsewhere"; readonly resumeState: RunState };

/** One attempt to move the machine. */
export class OutgoingMigration {
  readonly #dependencies: MigrationDependencies;
  readonly #source: MigratableMachine;
  readonly #plan: OutgoingPlan;
  /** Aborted when the attempt is to end, with the reason: a MigrationCancelled or a MigrationError. */
  readonly #interrupt = new AbortController();
  readonly #continued = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #strategy: Strategy;
  #status: MigrationStatus = "none";
  #errorDescription: string | undefined;
  #session: OutgoingSession | undefined;
  #guest: GuestPlace = { kind: "running" };
  #startTime = 0;
  #activeTime: number | undefined;
  #stopTime: number | undefined;
  #endTime: number | undefined;

  constructor(
    dependencies: MigrationDependencies,
    source: MigratableMachine,
    plan: OutgoingPlan,
  ) {
    this.#dependencies = dependencies;
    this.#source = source;
    this.#plan = plan;
    this.#strategy = createStrategy(this.#context(), plan.route);
  }

  get status(): MigrationStatus {
    return this.#status;
  }

  get mode(): MigrationMode {
    return modeOf(this.#plan.route);
  }

  /** Resolves when the attempt has ended, in whatever way. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Opens what can be opened at once. Throws, the attempt having failed, if that cannot be done. */
  begin(): void {
    this.#startTime = now();
    this.#dependencies.timeline.outgoingBegins();
    this.#beginPhase("connect");
    this.#setStatus("setup");
    try {
      this.#strategy.begin();
    } catch (error) {
      this.#giveUp(error);
      throw error;
    }
  }

  /** Moves the machine. The outcome is reported by {@linkcode status}. */
  async run(): Promise<void> {
    try {
      await this.#strategy.run();
    } catch (error) {
      this.#giveUp(error);
    }
  }

  /** Asks the attempt to end. */
  cancel(): void {
    if (!isUnderWay(this.#status) || this.#interrupt.signal.aborted) return;
    this.#setStatus("cancelling");
    this.#interrupt.abort(new MigrationCancelled());
  }

  /** Cuts the connection: the attempt fails. */
  yank(): void {
    if (isUnderWay(this.#status)) {
      this.#interrupt.abort(new MigrationError("the connection was cut by 'yank'"));
    }
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
    const guest = this.#guest;
    if (guest.kind !== "running" && guest.resumeState === "running") {
      this.#guest = { ...guest, resumeState: "paused" };
    }
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

  /** What the strategy asks of this. */
  #context(): StrategyContext {
    return {
      dependencies: this.#dependencies,
      source: this.#source,
      parameters: this.#plan.parameters,
      capabilities: this.#plan.capabilities,
      signal: this.#interrupt.signal,
      open: (address) => this.#open(address),
      send: (channel, options) => this.#send(channel, options),
      limited: (part, complaint) => this.#limited(part, complaint),
      returned: (runState) => {
        const before = this.#resumeState ?? "paused";
        const resumeState = runState === undefined || runState === "running" ? before : runState;
        this.#guest = { kind: "stopped", resumeState };
      },
    };
  }

  /** What the guest does when it goes on; absent while this attempt has not stopped it. */
  get #resumeState(): RunState | undefined {
    return this.#guest.kind === "running" ? undefined : this.#guest.resumeState;
  }

  /** Sends the machine, which is the destination's then unless `options` says something else. */
  async #send(channel: OutgoingChannel, options: SendOptions = {}): Promise<void> {
    const { ownership, part = "whole", stays = false } = options;
    this.#session = new OutgoingSession(this.#owner(options), channel);
    try {
      await this.#session.run();
    } catch (error) {
      // A destination that has taken the guest has it, whatever happened to the connection. One that does
      // not know the flag may have it all the same.
      if (ownership === undefined || ownership.keep()) throw error;
    }
    if (part !== "copy" && !stays) {
      const resumeState = this.#resumeState ?? this.#source.machine.runState;
      this.#guest = { kind: "elsewhere", resumeState };
    }
    if (part === "first") this.#endPhases();
    else this.#complete();
  }

  /** What the session asks of this. */
  #owner({ ownership, handingOver, capabilities, part }: SendOptions): SessionOwner {
    const isCopy = part === "copy";
    return {
      source: this.#source,
      plan: capabilities === undefined ? this.#plan : { ...this.#plan, capabilities },
      signal: this.#interrupt.signal,
      interrupt: (reason) => this.#interrupt.abort(reason),
      ownership,
      handingOver: handingOver ?? (() => Promise.resolve()),
      connect: () => this.#strategy.connect(),
      advance: (status) => {
        this.#interrupt.signal.throwIfAborted();
        if (isCopy) return;
        if (status === "active") this.#activeTime = now();
        this.#setStatus(status);
      },
      stop: () => this.#stop(),
      phase: (phase) => isCopy || this.#beginPhase(phase),
      runState: () => this.#resumeState ?? this.#source.machine.runState,
      continued: this.#continued.promise,
      // What is dirty is looked at once more when the guest has stopped; that is no pass.
      passBegan: (pass) =>
        !isCopy && this.#status === "active" && this.#dependencies.passBegan(pass),
      saved: () => isCopy || this.#dependencies.timeline.mark("saved"),
    };
  }

  #open(address: ChannelAddress): OutgoingChannel | Promise<OutgoingChannel> {
    const limit = (channel: OutgoingChannel) =>
      limitSilence(channel, address, this.#plan.parameters());
    const opened = openOutgoing(address, this.#dependencies.given, this.#interrupt.signal);
    if (!(opened instanceof Promise)) return limit(opened);
    return this.#limited(opened, "the destination does not accept a connection").then(limit);
  }

  /** Waits for a part of the attempt that can be interrupted, which happens if it takes too long. */
  async #limited<Value>(part: Promise<Value>, complaint: string): Promise<Value> {
    const milliseconds = this.#plan.parameters()["x-handover-timeout"];
    const timer = setTimeout(() => {
      this.#interrupt.abort(new MigrationError(`${complaint} for ${milliseconds} ms`));
    }, milliseconds);
    try {
      return await part;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Stops the guest for good, unless this has stopped it before, and waits until nothing changes in it. */
  async #stop(): Promise<void> {
    if (this.#guest.kind !== "running") return;
    const { machine } = this.#source;
    const { timeline } = this.#dependencies;
    this.#interrupt.signal.throwIfAborted();
    const wait = { signal: this.#interrupt.signal, limited: true };
    // A guest that has asked for a reset is not saved before it got it.
    await machine.settled(wait);
    timeline.mark("stop begins");
    this.#beginPhase("stop");
    this.#stopTime = now();
    this.#guest = { kind: "stopped", resumeState: machine.stop("finish-migrate") };
    await machine.settled(wait);
    timeline.mark("stopped");
    if (machine.hasEnded) throw new MigrationError("The guest has shut down");
  }

  #complete(): void {
    this.#source.machine.setRunState("postmigrate");
    this.#endTime = now();
    this.#endPhases();
    this.#setStatus("completed");
    if (!this.#strategy.executes) this.#ended.resolve();
  }

  /** The one exit of an attempt that did not succeed: the guest goes on as it was. */
  #giveUp(error: unknown): void {
    const { machine } = this.#source;
    const unknown = error instanceof OwnerUnknownError;
    const { reason } = this.#interrupt.signal;
    const cancelled = !unknown && reason instanceof MigrationCancelled;
    if (!cancelled) {
      this.#errorDescription = messageOf(
        unknown ? error : reason ?? this.#session?.reasonOf(error) ?? error,
      );
      if (this.#status !== "completed") this.#setStatus("failing");
    }
    const stoppedHere = machine.runState === "finish-migrate" || machine.runState === "postmigrate";
    const guest = this.#guest;
    if (guest.kind === "stopped" && stoppedHere) {
      this.#rollBack(() =>
        unknown ? machine.setRunState("postmigrate") : machine.rollBackRunState(guest.resumeState)
      );
    }
    this.#rollBack(() => this.#dependencies.update.rollback());
    this.#endTime = now();
    this.#endPhases();
    this.#setStatus(cancelled ? "cancelled" : "failed");
    this.#ended.resolve();
  }

  /** What fails of going back keeps nothing else from it, and is the attempt's error if there is no other. */
  #rollBack(step: () => void): void {
    try {
      step();
    } catch (error) {
      report(messageOf(error));
      this.#errorDescription ??= messageOf(error);
    }
  }

  #beginPhase(phase: Phase): void {
    this.#dependencies.timeline.phases.begin(phase, this.#session?.bytes ?? 0);
  }

  #endPhases(): void {
    const { phases } = this.#dependencies.timeline;
    phases.end(this.#session?.bytes ?? 0);
    phases.trace();
  }

  #setStatus(status: MigrationStatus): void {
    this.#status = status;
    this.#dependencies.statusChanged(status);
  }
}
