/**
 * The source of a migration, one phase after the other:
 *
 *   setup        the channel opens; cpr-transfer: the destination takes over the descriptors before
 *   begin        header, configuration, commands, block list
 *   active       pages, while the guest runs (CPR modes stop it first)
 *   switchover   the guest stops; pre-switchover waits here
 *   device       the remaining pages, every device's state, the description
 *   handover     with a return path, the destination says that it has the guest
 *   completed    cpr-exec: the successor is executed, an interim monitor having the guest (cpr/interim_monitor.ts)
 *
 * Whatever fails, and whenever somebody cancels, there is one exit: the guest goes on here as it was. If
 * the destination may have it and cannot be asked any more, the guest stays stopped, in `postmigrate`, and
 * an operator decides.
 */
import { openOutgoing } from "../channel/outgoing.ts";
import type { ChannelAddress } from "../channel/address.ts";
import type { OutgoingChannel } from "../channel/channel.ts";
import { isRunState, type RunState } from "../machine/run_state.ts";
import { InterimMonitor } from "./cpr/interim_monitor.ts";
import type { KeptDescriptor } from "./cpr/descriptors.ts";
import { checkStart, tryStart } from "../process/start_check.ts";
import { executeSuccessor } from "./cpr/exec.ts";
import { Ownership, OWNERSHIP_NAME } from "./cpr/ownership.ts";
import { handOverDescriptors } from "./cpr/transfer.ts";
import { report } from "../process/messages.ts";
import { messageOf, MigrationCancelled, MigrationError, OwnerUnknownError } from "./errors.ts";
import { within } from "./limits.ts";
import { type MigrationInformation, ramInformation } from "./information.ts";
import type { OutgoingPlan } from "./outgoing_plan.ts";
import { OutgoingSession, type SessionOwner } from "./outgoing_session.ts";
import type { MigrationMode } from "./parameters.ts";
import { isUnderWay, type MigrationStatus, type MigrationStatusName } from "./status.ts";
import type { MigratableMachine } from "./source.ts";
import type { MigrationDependencies } from "./dependencies.ts";
import { limitSilence } from "./tcp_limits.ts";

/** Milliseconds on a clock that does not jump. */
function now(): number {
  return Math.round(performance.now());
}

/** One attempt to move the machine. */
export class OutgoingMigration {
  readonly #dependencies: MigrationDependencies;
  readonly #source: MigratableMachine;
  readonly #plan: OutgoingPlan;
  /** Aborted when the attempt is to end, with the reason: a MigrationCancelled or a MigrationError. */
  readonly #interrupt = new AbortController();
  readonly #continued = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #opening: Promise<OutgoingChannel> | undefined;
  #status: MigrationStatus = "none";
  #errorDescription: string | undefined;
  #session: OutgoingSession | undefined;
  /** What the machine would be doing now if there were no migration; set while that stops it. */
  #resumeState: RunState | undefined;
  /** Another process may run the guest: this one must not, whatever goes wrong. */
  #elsewhere = false;
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
    try {
      if (this.#plan.mode === "cpr-exec" && this.#plan.channel === undefined) checkStart();
    } catch (error) {
      this.#giveUp(error);
      throw error;
    }
    // The destination of a cpr-transfer listens when it has the descriptors.
    if (this.#plan.mode === "cpr-transfer" || this.#withInterimMonitor) return;
    try {
      this.#opening = Promise.resolve(this.#open());
      // Its error is met in run().
      this.#opening.catch(() => {});
    } catch (error) {
      this.#giveUp(error);
      throw error;
    }
  }

  /** Moves the machine. The outcome is reported by {@linkcode status}. */
  async run(): Promise<void> {
    const { mode, main, cpr, channel: given } = this.#plan;
    try {
      if (given !== undefined) await this.#send(given, this.#plan.ownership);
      else if (cpr !== undefined) await this.#transfer(cpr);
      else if (mode === "cpr-exec" && main === undefined) await this.#updateWithInterimMonitor();
      else await this.#move();
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

  /** The guest runs elsewhere while this process executes its successor. */
  get #withInterimMonitor(): boolean {
    return this.#plan.mode === "cpr-exec" && this.#plan.main === undefined;
  }

  async #move(): Promise<void> {
    using channel = await (this.#opening ?? this.#open());
    // Once the guest is stopped for it, a successor that does not start costs the guest.
    if (this.#plan.mode === "cpr-exec") await tryStart(this.#interrupt.signal);
    await this.#send(channel, undefined);
    if (this.#plan.mode === "cpr-exec") await this.#executeSuccessor([], []);
  }

  async #transfer(cpr: ChannelAddress): Promise<void> {
    const { update } = this.#dependencies;
    using ownership = Ownership.create();
    const kept = [...update.announce(), ownership.kept(OWNERSHIP_NAME)];
    await this.#limited(
      handOverDescriptors(cpr, kept, this.#interrupt.signal),
      "the destination has not taken the CPR state",
    );
    using channel = await this.#open();
    await this.#send(channel, ownership, () => update.suspend(false));
    // QEMU, which does not use the ownership flag, has no use for what survives here.
    if (ownership.keep()) update.rollback();
    else update.commit();
  }

  async #updateWithInterimMonitor(): Promise<void> {
    const { update, timeline } = this.#dependencies;
    const kept = [...update.forInterimMonitor(), timeline.kept];
    using interimMonitor = await this.#startInterimMonitor(kept);
    {
      using channel = interimMonitor.takeChannel();
      await this.#send(channel, interimMonitor.ownership);
    }
    try {
      await this.#executeSuccessor(interimMonitor.kept, [interimMonitor.variable]);
    } catch (error) {
      const runState = await this.#takeBack(interimMonitor, error);
      this.#elsewhere = false;
      if (runState !== "running" && isRunState(runState)) this.#resumeState = runState;
      throw error;
    }
  }

  async #startInterimMonitor(kept: readonly KeptDescriptor[]): Promise<InterimMonitor> {
    try {
      const limit = this.#plan.parameters()["x-successor-timeout"];
      return await this.#limited(
        InterimMonitor.start(kept, this.#interrupt.signal, limit),
        "the interim monitor is not ready",
      );
    } catch (error) {
      // If no program can be started, that is the reason.
      if (!this.#interrupt.signal.aborted) await tryStart(this.#interrupt.signal);
      throw error;
    }
  }

  /** Sends the machine, which is the destination's then. `handingOver` is for what goes with it. */
  async #send(
    channel: OutgoingChannel,
    ownership: Ownership | undefined,
    handingOver: () => Promise<void> = () => Promise.resolve(),
  ): Promise<void> {
    this.#session = new OutgoingSession(this.#owner(ownership, handingOver), channel);
    try {
      await this.#session.run();
    } catch (error) {
      // A destination that has taken the guest has it, whatever happened to the connection. One that does
      // not know the flag may have it all the same.
      if (ownership === undefined || ownership.keep()) throw error;
    }
    this.#elsewhere = this.#plan.mode !== "cpr-exec" || this.#withInterimMonitor;
    this.#complete();
  }

  /** What the session asks of this. */
  #owner(ownership: Ownership | undefined, handingOver: () => Promise<void>): SessionOwner {
    return {
      source: this.#source,
      plan: this.#plan,
      signal: this.#interrupt.signal,
      interrupt: (reason) => this.#interrupt.abort(reason),
      ownership,
      handingOver,
      connect: () => this.#open(),
      advance: (status) => {
        this.#interrupt.signal.throwIfAborted();
        if (status === "active") this.#activeTime = now();
        this.#setStatus(status);
      },
      stop: () => this.#stop(),
      runState: () => this.#resumeState ?? this.#source.machine.runState,
      continued: this.#continued.promise,
      // What is dirty is looked at once more when the guest has stopped; that is no pass.
      passBegan: (pass) => this.#status === "active" && this.#dependencies.passBegan(pass),
      saved: () => this.#dependencies.timeline.mark("saved"),
    };
  }

  #open(): OutgoingChannel | Promise<OutgoingChannel> {
    const { main } = this.#plan;
    if (main === undefined) throw new MigrationError("the migration has no main channel");
    const opened = openOutgoing(main, this.#dependencies.given, this.#interrupt.signal);
    if (!(opened instanceof Promise)) return limitSilence(opened, main, this.#plan.parameters());
    return this.#limited(opened, "the destination does not accept a connection")
      .then((channel) => limitSilence(channel, main, this.#plan.parameters()));
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

  /** The guest comes back from its interim monitor: the successor could not be executed because of `cause`. */
  async #takeBack(interimMonitor: InterimMonitor, cause: unknown): Promise<string> {
    const milliseconds = this.#plan.parameters()["x-handover-timeout"];
    return await within(
      milliseconds,
      interimMonitor.giveBack(this.#source),
      () =>
        new MigrationError(
          `${
            messageOf(cause)
          }; the guest is with process ${interimMonitor.pid}, which has not given it ` +
            `back for ${milliseconds} ms`,
        ),
    );
  }

  /** Stops the guest for good, unless this has stopped it before. */
  #stop(): void {
    if (this.#resumeState !== undefined) return;
    const { machine } = this.#source;
    const { timeline } = this.#dependencies;
    this.#interrupt.signal.throwIfAborted();
    timeline.mark("stop begins");
    this.#stopTime = now();
    this.#resumeState = machine.stop("finish-migrate");
    timeline.mark("stopped");
    if (machine.hasEnded) throw new MigrationError("The guest has shut down");
  }

  #complete(): void {
    this.#source.machine.setRunState("postmigrate");
    this.#endTime = now();
    this.#setStatus("completed");
    if (this.#plan.mode !== "cpr-exec") this.#ended.resolve();
  }

  async #executeSuccessor(
    more: readonly KeptDescriptor[],
    variables: readonly string[],
  ): Promise<void> {
    const { update, timeline } = this.#dependencies;
    await update.suspend(true);
    timeline.mark("executing");
    executeSuccessor(
      this.#plan.parameters()["cpr-exec-command"],
      [...update.collect(), timeline.kept, ...more],
      variables,
    );
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
    const before = this.#resumeState;
    if (before !== undefined && stoppedHere && !this.#elsewhere) {
      this.#rollBack(() =>
        unknown ? machine.setRunState("postmigrate") : machine.rollBackRunState(before)
      );
    }
    this.#rollBack(() => this.#dependencies.update.rollback());
    this.#endTime = now();
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

  #setStatus(status: MigrationStatus): void {
    this.#status = status;
    this.#dependencies.statusChanged(status);
  }
}
