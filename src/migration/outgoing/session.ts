/**
 * The writing of one stream, phase by phase (attempt.ts says which statuses they are). The phases only
 * send: whatever fails, OutgoingMigration has the one exit that lets the guest go on.
 *
 *   begin            header, configuration, return path, block list
 *   passes           pages, while the guest runs
 *   introduction     with a return path: the destination has answered, the guest still runs
 *   switchover       the guest stops; the remaining pages, every device's state
 *   end              the end of the stream: from here on a destination may have the guest
 *   handover         with a return path: the destination says that it has it (handover.ts)
 *
 * Where memory stays in place everything but the devices' state is written before the guest stops, and
 * people are notified after: it is paused for as long as saving and loading that state take.
 * A molt loads one device while the next one is saved, if nothing happens here but saving: whatever wakes
 * another thread or process takes a processor from one of the two.
 */
import type { OutgoingChannel } from "../../channel/channel.ts";
import type { RunState } from "../../machine/run_state.ts";
import { isBrokenChannel } from "../../native/channel.ts";
import { hasInput } from "../../native/wait.ts";
import { inPlaceModes } from "../blockers.ts";
import { requireIntact } from "../ram/intact.ts";
import { collectGarbage } from "../../process/garbage.ts";
import type { Ownership } from "../cpr/ownership.ts";
import { saveDevices, savingDevices } from "../device_state.ts";
import { messageOf, MigrationError, OwnerUnknownError } from "../errors.ts";
import { loadWarmUp } from "../late_modules.ts";
import { ProgressLimit, unlessAborted, within } from "../limits.ts";
import { handOver } from "./handover.ts";
import { modeOf, type OutgoingPlan } from "./plan.ts";
import { createRamSender } from "../ram_sender.ts";
import type { RamSender, RamStatistics } from "../ram/sender.ts";
import type { Phase } from "../phases.ts";
import { MOLT_PING, ReturnPathReader } from "../return_path.ts";
import { type MigratableMachine, streamConfiguration } from "../source.ts";
import type { MigrationStatus } from "../status.ts";
import { StreamSender } from "../stream_sender.ts";
import { StreamWriter } from "../stream/stream_writer.ts";

/** Devices' state is sent in parts of so many bytes or more, to a destination that loads them as they come. */
const PART = 512;
/** How long a destination is given before anybody else, once it has everything. */
const ARRIVAL_MS = 5;

/** What has happened when the end of the stream may have been sent. */
const HAS_EVERYTHING = "the destination may have everything and has not answered";

/** What a session asks of the migration that it belongs to. */
export interface SessionOwner {
  readonly source: MigratableMachine;
  readonly plan: OutgoingPlan;
  /** Aborted, with the reason, when the migration is to end. */
  readonly signal: AbortSignal;
  /** Ends the migration for this reason: the signal is aborted. */
  interrupt(reason: MigrationError): void;
  /** cpr-transfer: the flag that decides who has the guest. */
  readonly ownership: Ownership | undefined;
  /** Connects to the destination once more. */
  connect(): OutgoingChannel | Promise<OutgoingChannel>;
  /** Reports a change of status; throws the signal's reason once it is aborted. */
  advance(status: MigrationStatus): void;
  /** A phase begins. */
  phase(phase: Phase): void;
  /** Stops the guest for good; nothing happens if that was done before. */
  stop(): Promise<void>;
  /** What the destination is to do with the guest. */
  runState(): RunState;
  /** Resolves when a person lets the migration leave pre-switchover. */
  readonly continued: Promise<void>;
  /** Reports a pass over RAM. */
  passBegan(pass: number): void;
  /** The devices' state is in the stream. */
  saved(): void;
  /** What survives beside the guest is the destination's from now on. */
  handingOver(): Promise<void>;
}

/** Sends the machine through one channel. */
export class OutgoingSession {
  readonly #owner: SessionOwner;
  readonly #channel: OutgoingChannel;
  readonly #writer: StreamWriter;
  readonly #sender: StreamSender;
  #ram: RamSender | undefined;
  #returnPath: ReturnPathReader | undefined;
  /** All but the end of the stream was sent, and that may have been. */
  #ending = false;

  constructor(owner: SessionOwner, channel: OutgoingChannel) {
    this.#owner = owner;
    this.#channel = channel;
    this.#writer = new StreamWriter(channel.position);
    this.#sender = new StreamSender(this.#writer, channel);
  }

  /** Bytes sent so far, on all channels. */
  get bytes(): number {
    return Math.max(this.#channel.position, this.#ram?.statistics.transferred ?? 0);
  }

  get statistics(): RamStatistics | undefined {
    return this.#ram?.statistics;
  }

  /** Resolves when the machine is stopped, and the destination, if it can be asked, has it. */
  async run(): Promise<void> {
    const { signal, source, plan } = this.#owner;
    const cut = () => this.#channel.cancel();
    signal.addEventListener("abort", cut, { once: true });
    signal.throwIfAborted();

    using throttle = plan.capabilities.has("auto-converge") ? source.createThrottle() : undefined;
    await using ram = createRamSender({
      mode: modeOf(plan.route),
      capabilities: plan.capabilities,
      parameters: plan.parameters,
      source,
      channel: this.#channel,
      connect: () => this.#owner.connect(),
      stream: plan.stream,
      writer: this.#writer,
      flush: () => this.#sender.flush(),
      throttle,
      signal,
      passBegan: (pass) => this.#owner.passBegan(pass),
    });
    this.#ram = ram;
    await this.#begin(ram);
    try {
      if (inPlaceModes.includes(modeOf(plan.route))) await this.#switchOverInPlace(ram);
      else await this.#switchOver(ram);
    } catch (error) {
      throw this.#mayHaveArrived(error) ? new OwnerUnknownError(HAS_EVERYTHING, error) : error;
    }
    // From here on the connection is not cut without a word.
    signal.removeEventListener("abort", cut);
    if (this.#returnPath) {
      this.#owner.phase("handover");
      await handOver({
        channel: this.#channel,
        writer: this.#writer,
        returnPath: this.#returnPath,
        ownership: this.#owner.ownership,
        signal,
        milliseconds: this.#handoverTimeout,
        handingOver: () => this.#owner.handingOver(),
      });
    }
  }

  /** What the destination has said against going on; the error itself if that says more. */
  reasonOf(error: unknown): unknown {
    if (!isBrokenChannel(error)) return error;
    try {
      this.#returnPath?.check();
    } catch (reason) {
      return reason;
    }
    const offset = `0x${this.#channel.position.toString(16)}`;
    return new MigrationError(
      `the destination disconnected, at offset ${offset} of the stream: ${messageOf(error)}`,
      { cause: error },
    );
  }

  async #begin(ram: RamSender): Promise<void> {
    const { source, plan } = this.#owner;
    this.#owner.phase("setup");
    this.#writer.begin(streamConfiguration(source, plan.capabilities));
    this.#openReturnPath();
    await ram.begin();
    await this.#sender.flush();
  }

  #openReturnPath(): void {
    const { plan, ownership } = this.#owner;
    // Memory that both processes map must never be used by both: the source waits for the other one.
    if (!plan.capabilities.has("return-path") && ownership === undefined) return;
    if (this.#channel.returnPath === undefined) {
      throw new MigrationError(
        "Capability 'return-path' requires a transport with a way back (e.g. tcp)",
      );
    }
    this.#writer.command({ name: "OPEN_RETURN_PATH" });
    const pings = [1, MOLT_PING, ...(ownership === undefined ? [] : [ownership.number])];
    for (const value of pings) this.#writer.command({ name: "PING", value });
    this.#returnPath = new ReturnPathReader(this.#channel.returnPath, pings.at(-1) ?? 1);
  }

  /**
   * Waits until the destination has answered. The guest is not stopped for one that does not read, and
   * it must be known whether the destination waits to be given the guest.
   */
  async #introduction(): Promise<void> {
    if (this.#returnPath === undefined) return;
    this.#owner.phase("answer");
    await this.#limited(this.#returnPath.introduced);
  }

  /** Waits for what the destination answers while the guest runs. */
  async #limited(answer: Promise<void>): Promise<void> {
    const milliseconds = this.#handoverTimeout;
    await within(
      milliseconds,
      unlessAborted(answer, this.#owner.signal),
      () => new MigrationError(`the destination has not answered for ${milliseconds} ms`),
    );
  }

  get #handoverTimeout(): number {
    return this.#owner.plan.parameters()["x-handover-timeout"];
  }

  /** While the guest is stopped, a destination that takes nothing for long ends the migration. */
  #limitStop(): Disposable | undefined {
    // A file or a program is as slow as it is; its progress is not seen here.
    if (this.#channel.returnPath === undefined) return undefined;
    const milliseconds = this.#handoverTimeout;
    return new ProgressLimit(
      milliseconds,
      () => this.#channel.position + (this.statistics?.transferred ?? 0),
      () =>
        this.#owner.interrupt(
          new MigrationError(`the destination has taken nothing for ${milliseconds} ms`),
        ),
    );
  }

  /**
   * True if the end of the stream may have reached a destination that starts the guest by itself. One that
   * has closed the connection has not read all of it.
   */
  #mayHaveArrived(error: unknown): boolean {
    return this.#ending && this.#channel.returnPath !== undefined &&
      !(this.#returnPath?.destinationAwaitsCommit ?? false) && !isBrokenChannel(error);
  }

  /** Pages are sent while the guest runs, until the rest is little. */
  async #switchOver(ram: RamSender): Promise<void> {
    const owner = this.#owner;
    const { source, plan } = owner;
    if (modeOf(plan.route) !== "normal") await owner.stop();
    owner.advance("active");
    owner.phase("precopy");
    while (!await ram.pass()) {
      await this.#sender.flush();
      this.#returnPath?.check();
    }
    if (await this.#agreement()) {
      while (!await ram.pass()) await this.#sender.flush();
    }
    await owner.stop();
    await this.#pause();
    using _ = this.#limitStop();
    owner.advance("device");
    owner.phase("device");
    this.#announceSwitchover();
    await ram.finish();
    saveDevices(this.#writer, source, this.#runState());
    await this.#sender.flush();
    owner.signal.throwIfAborted();
    requireIntact(source.blocks);
    this.#ending = true;
    this.#writer.finish(!source.suppressDescription);
    await this.#sender.flush();
    await this.#channel.finish();
    this.#owner.saved();
  }

  /** Waits until the destination can be given the guest. True if the guest has run on for that. */
  async #agreement(): Promise<boolean> {
    await this.#introduction();
    const { capabilities, stream } = this.#owner.plan;
    if (!capabilities.has("switchover-ack") || !stream.switchoverAckLegacy) return false;
    if (this.#returnPath) await this.#limited(this.#returnPath.switchoverAcknowledged);
    return true;
  }

  /** Memory stays where it is: the guest stops at the last moment. */
  async #switchOverInPlace(ram: RamSender): Promise<void> {
    const owner = this.#owner;
    const { source, plan } = owner;
    const { warmUpSaving } = await loadWarmUp();
    await warmUpSaving(source, owner.signal);
    await this.#agreement();
    this.#announceSwitchover();
    await ram.finish();
    this.#returnPath?.check();
    collectGarbage("minor");
    await owner.stop();
    const pauses = plan.capabilities.has("pause-before-switchover");
    if (pauses) {
      this.#reportActive();
      await this.#pause();
    }
    using _ = this.#limitStop();
    owner.phase("device");
    // A molt that the guest comes to loads one part while the next one is saved.
    const inParts = this.#returnPath?.destinationAwaitsCommit ?? false;
    if (inParts) this.#sender.sendWhatFits();
    for (const _ of savingDevices(this.#writer, source, this.#runState())) {
      if (inParts && this.#writer.buffer.length >= PART) this.#sender.sendWhatFits();
    }
    if (!inParts) await this.#sender.flush();
    requireIntact(source.blocks);
    this.#ending = true;
    this.#writer.end();
    const sent = this.#sender.flush();
    // Its failure is met below, if nothing else fails before.
    sent.catch(() => {});
    // Whoever is notified of it needs a processor, and so does the destination: that one first.
    if (this.#returnPath !== undefined) hasInput(this.#channel.fd, ARRIVAL_MS);
    if (!pauses) this.#reportActive();
    owner.advance("device");
    await sent;
    if (!source.suppressDescription) this.#writer.describe();
    await this.#sender.flush();
    await this.#channel.finish();
    this.#owner.saved();
  }

  /** As QEMU reports it: the look at what is dirty at the beginning counts as the first pass. */
  #reportActive(): void {
    this.#owner.advance("active");
    this.#owner.passBegan(2);
  }

  async #pause(): Promise<void> {
    if (!this.#owner.plan.capabilities.has("pause-before-switchover")) return;
    this.#owner.advance("pre-switchover");
    this.#owner.phase("pre-switchover");
    await unlessAborted(this.#owner.continued, this.#owner.signal);
  }

  #announceSwitchover(): void {
    if (this.#owner.plan.stream.sendSwitchoverStart) {
      this.#writer.command({ name: "SWITCHOVER_START" });
    }
  }

  /** What the stream says that the machine did before it was stopped, if it says so. */
  #runState(): RunState | undefined {
    return this.#owner.plan.stream.storeGlobalState ? this.#owner.runState() : undefined;
  }
}
