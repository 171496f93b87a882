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
import { isBrokenChannel } from "../native/channel.ts";
import { createMemfd } from "../native/file.ts";
import type { CapabilitySet } from "./capabilities.ts";
import { executeSuccessor, STREAM_NAME } from "./cpr/exec.ts";
import { handOverDescriptors } from "./cpr/transfer.ts";
import { saveDevices } from "./device_state.ts";
import { messageOf, MigrationCancelled, MigrationError } from "./errors.ts";
import { type MigrationInformation, ramInformation } from "./information.ts";
import type { MigrationMode, MigrationParameters } from "./parameters.ts";
import type { StreamProperties } from "./properties.ts";
import { createRamSender } from "./ram_sender.ts";
import type { RamSender } from "./ram/sender.ts";
import { MOLT_PING, ReturnPathReader } from "./return_path.ts";
import { isUnderWay, type MigrationStatus, type MigrationStatusName } from "./status.ts";
import { type MigratableMachine, streamConfiguration } from "./source.ts";
import { StreamWriter } from "./stream/stream_writer.ts";
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
  #ram: RamSender | undefined;
  #returnPath: ReturnPathReader | undefined;
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
      await this.#send(channel);
      this.#complete();
      if (this.#plan.mode === "cpr-exec") await this.#executeSuccessor(channel);
    } catch (error) {
      this.#giveUp(error);
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
    const statistics = this.#ram?.statistics;
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
    const kept = this.#surroundings.keptDescriptors();
    await handOverDescriptors(cpr, kept, this.#cancelled.signal);
  }

  #open(): OutgoingChannel | Promise<OutgoingChannel> {
    const { main } = this.#plan;
    if (main === undefined) return new OutgoingFile(createMemfd(STREAM_NAME));
    return openOutgoing(main, this.#surroundings.given, this.#cancelled.signal);
  }

  async #send(channel: OutgoingChannel): Promise<void> {
    const { signal } = this.#cancelled;
    const cancelChannel = () => channel.cancel();
    signal.addEventListener("abort", cancelChannel, { once: true });
    if (signal.aborted) throw new MigrationCancelled();

    const source = this.#source;
    const { mode, capabilities, stream } = this.#plan;
    const writer = new StreamWriter(channel.position);
    const flush = () => channel.write(writer.take());
    using throttle = capabilities.has("auto-converge") ? source.createThrottle() : undefined;
    await using ram = createRamSender({
      mode,
      capabilities,
      parameters: this.#plan.parameters,
      source,
      channel,
      connect: () => this.#open(),
      stream,
      writer,
      flush,
      throttle,
      signal,
      // What is dirty is looked at once more when the guest has stopped; that is no pass.
      passBegan: (pass) => this.#status === "active" && this.#surroundings.passBegan(pass),
    });
    this.#ram = ram;

    writer.begin(streamConfiguration(source, capabilities));
    const returnPath = this.#openReturnPath(channel, writer);
    await ram.begin();
    await flush();

    if (mode === "cpr-exec" || mode === "cpr-transfer") {
      const { rehearseSaving } = await import("./rehearsal.ts");
      await rehearseSaving(source);
    }
    if (mode !== "normal") this.#stop();
    this.#advance("active");
    this.#activeTime = now();
    while (!await ram.pass()) {
      await flush();
      returnPath?.check();
      this.#checkCancelled();
    }

    if (capabilities.has("switchover-ack")) await returnPath?.switchoverAcknowledged;
    this.#stop();
    if (capabilities.has("pause-before-switchover")) await this.#pauseBeforeSwitchover();
    this.#advance("device");
    if (stream.sendSwitchoverStart) writer.command({ name: "SWITCHOVER_START" });
    await ram.finish();
    saveDevices(writer, source, stream.storeGlobalState ? this.#savedRunState() : undefined);
    writer.finish(!source.suppressDescription);
    await flush();
    await channel.finish();
    this.#surroundings.timeline.mark("saved");

    this.#checkCancelled();
    signal.removeEventListener("abort", cancelChannel);
    if (returnPath) await this.#handOver(returnPath, channel, writer);
  }

  #openReturnPath(channel: OutgoingChannel, writer: StreamWriter): ReturnPathReader | undefined {
    const { mode, capabilities } = this.#plan;
    // Memory that both processes map must never be used by both: the source waits for the other one.
    if (!capabilities.has("return-path") && mode !== "cpr-transfer") return undefined;
    if (channel.returnPath === undefined) {
      throw new MigrationError(
        "Capability 'return-path' requires a transport with a way back (e.g. tcp)",
      );
    }
    writer.command({ name: "OPEN_RETURN_PATH" });
    writer.command({ name: "PING", value: 1 });
    writer.command({ name: "PING", value: MOLT_PING });
    this.#returnPath = new ReturnPathReader(channel.returnPath);
    return this.#returnPath;
  }

  /** Stops the guest for good, unless this has stopped it before. */
  #stop(): void {
    if (this.#resumeState !== undefined) return;
    const { machine } = this.#source;
    const { timeline } = this.#surroundings;
    this.#checkCancelled();
    timeline.mark("stop begins");
    this.#resumeState = machine.runState;
    this.#stopTime = now();
    machine.stop("finish-migrate");
    timeline.mark("stopped");
  }

  /** What the destination is to do, by QEMU's names. */
  #savedRunState(): RunState {
    return this.#resumeState ?? this.#source.machine.runState;
  }

  async #pauseBeforeSwitchover(): Promise<void> {
    this.#advance("pre-switchover");
    await this.#unlessCancelled(this.#continued.promise);
  }

  /** Waits until the destination has the guest. From here on the channel is not cut by a cancel. */
  async #handOver(
    returnPath: ReturnPathReader,
    channel: OutgoingChannel,
    writer: StreamWriter,
  ): Promise<void> {
    const tell = (name: "COMMIT" | "ABORT") => {
      writer.command({ name });
      return channel.write(writer.take());
    };
    try {
      await this.#unlessCancelled(returnPath.loaded);
    } catch (error) {
      if (returnPath.destinationAwaitsCommit) {
        // One that is gone needs not be told.
        await tell("ABORT").catch(() => {});
        throw error;
      }
      if (!(error instanceof MigrationCancelled)) throw error;
      // This destination starts the guest by itself: only its answer tells whether it has.
      await returnPath.loaded.catch(() => {
        throw error;
      });
    }
    if (!returnPath.destinationAwaitsCommit) return;
    await tell("COMMIT");
    await this.#awaitEnd(channel);
  }

  /**
   * Waits until a destination that was told to start the guest closes the connection. One that died
   * before it read that resets the connection, and then the guest is still here.
   */
  async #awaitEnd({ returnPath }: OutgoingChannel): Promise<void> {
    const buffer = new Uint8Array(64);
    while (await returnPath?.read(buffer)) { /* it has nothing more to say */ }
  }

  #complete(): void {
    this.#source.machine.setRunState("postmigrate");
    this.#endTime = now();
    this.#setStatus("completed");
    if (this.#plan.mode !== "cpr-exec") this.#ended.resolve();
  }

  async #executeSuccessor(channel: OutgoingChannel): Promise<void> {
    const { keptDescriptors, beforeExec, timeline } = this.#surroundings;
    await beforeExec();
    const inMemory = this.#plan.main === undefined;
    const stream = inMemory ? [{ name: STREAM_NAME, id: 0, fd: channel.fd }] : [];
    timeline.mark("executing");
    executeSuccessor(
      this.#plan.parameters()["cpr-exec-command"],
      [...keptDescriptors(), ...stream],
      [timeline.toEnvironment()],
    );
  }

  /** The one exit of an attempt that did not succeed: the guest goes on as it was. */
  #giveUp(error: unknown): void {
    const { machine } = this.#source;
    const cancelled = this.#cancelled.signal.aborted;
    if (!cancelled) {
      this.#errorDescription = messageOf(this.#reasonOf(error));
      if (this.#status !== "completed") this.#setStatus("failing");
    }
    const stoppedHere = machine.runState === "finish-migrate" || machine.runState === "postmigrate";
    if (this.#resumeState !== undefined && stoppedHere) machine.goBackTo(this.#resumeState);
    this.#endTime = now();
    this.#setStatus(cancelled ? "cancelled" : "failed");
    this.#ended.resolve();
  }

  /** A destination that closes the channel has said why on the return path, if there is one. */
  #reasonOf(error: unknown): unknown {
    if (!isBrokenChannel(error)) return error;
    try {
      this.#returnPath?.check();
      return error;
    } catch (reason) {
      return reason;
    }
  }

  #advance(status: MigrationStatus): void {
    this.#checkCancelled();
    this.#setStatus(status);
  }

  #setStatus(status: MigrationStatus): void {
    this.#status = status;
    this.#surroundings.statusChanged(status);
  }

  #checkCancelled(): void {
    if (this.#cancelled.signal.aborted) throw new MigrationCancelled();
  }

  async #unlessCancelled<Value>(promise: Promise<Value>): Promise<Value> {
    const { signal } = this.#cancelled;
    this.#checkCancelled();
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(new MigrationCancelled());
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await Promise.race([promise, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }
}
