/**
 * The writing of one stream, phase by phase (outgoing.ts says which statuses they are). The phases only
 * send: whatever fails, OutgoingMigration has the one exit that lets the guest go on.
 *
 *   begin            header, configuration, return path, block list
 *   passes           pages, while the guest runs
 *   switchover       the guest stops; the remaining pages, every device's state, the end
 *   handover         with a return path: the destination says that it has the guest
 *
 * Where memory stays in place everything but the devices' state is written before the guest stops, and
 * what people are told is told after: it stands still for as long as saving and loading that state take.
 * A molt loads one device while the next one is saved, if nothing happens here but saving: whatever wakes
 * another thread or process takes a processor from one of the two.
 */
import type { OutgoingChannel } from "../channel/channel.ts";
import type { RunState } from "../machine/run_state.ts";
import { isBrokenChannel } from "../native/channel.ts";
import { hasInput } from "../native/wait.ts";
import { send } from "../native/socket.ts";
import { inPlaceModes } from "./blockers.ts";
import type { Ownership } from "./cpr/ownership.ts";
import { saveDevices, savingDevices } from "./device_state.ts";
import { messageOf, MigrationCancelled, MigrationError } from "./errors.ts";
import type { OutgoingPlan } from "./outgoing_plan.ts";
import { createRamSender } from "./ram_sender.ts";
import type { RamSender, RamStatistics } from "./ram/sender.ts";
import { MOLT_PING, ReturnPathReader } from "./return_path.ts";
import { type MigratableMachine, streamConfiguration } from "./source.ts";
import type { MigrationStatus } from "./status.ts";
import { StreamSender } from "./stream_sender.ts";
import { StreamWriter } from "./stream/stream_writer.ts";

/** Devices' state is sent in parts of so many bytes or more, to a destination that loads them as they come. */
const PART = 512;
/** How long a destination is given before anybody else, once it has everything. */
const ARRIVAL_MS = 5;

/** What a session asks of the migration that it belongs to. */
export interface SessionOwner {
  readonly source: MigratableMachine;
  readonly plan: OutgoingPlan;
  /** Aborted when somebody cancels. */
  readonly signal: AbortSignal;
  /** cpr-transfer: the word that decides who has the guest. */
  readonly ownership: Ownership | undefined;
  /** Connects to the destination once more. */
  connect(): OutgoingChannel | Promise<OutgoingChannel>;
  /** Tells of a change of status; throws MigrationCancelled once somebody has cancelled. */
  advance(status: MigrationStatus): void;
  /** Stops the guest for good; nothing happens if that was done before. */
  stop(): void;
  /** What the destination is to do with the guest. */
  runState(): RunState;
  /** Resolves when a person lets the migration leave pre-switchover. */
  readonly continued: Promise<void>;
  /** Tells of a pass over RAM. */
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

  constructor(owner: SessionOwner, channel: OutgoingChannel) {
    this.#owner = owner;
    this.#channel = channel;
    this.#writer = new StreamWriter(channel.position);
    this.#sender = new StreamSender(this.#writer, channel);
  }

  get statistics(): RamStatistics | undefined {
    return this.#ram?.statistics;
  }

  /** Resolves when the machine is stopped, and the destination, if it can be asked, has it. */
  async run(): Promise<void> {
    const { signal, source, plan } = this.#owner;
    const cut = () => this.#channel.cancel();
    signal.addEventListener("abort", cut, { once: true });
    if (signal.aborted) throw new MigrationCancelled();

    using throttle = plan.capabilities.has("auto-converge") ? source.createThrottle() : undefined;
    await using ram = createRamSender({
      mode: plan.mode,
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
    if (inPlaceModes.includes(plan.mode)) await this.#switchOverInPlace(ram);
    else await this.#switchOver(ram);
    // From here on a destination may have the guest: the connection is not cut without a word.
    signal.removeEventListener("abort", cut);
    if (this.#returnPath) await this.#handOver(this.#returnPath);
  }

  /** What the destination has said against going on; the error itself if that tells more. */
  reasonOf(error: unknown): unknown {
    if (!isBrokenChannel(error)) return error;
    try {
      this.#returnPath?.check();
    } catch (reason) {
      return reason;
    }
    const offset = `0x${this.#channel.position.toString(16)}`;
    return new MigrationError(
      `the destination has gone, at offset ${offset} of the stream: ${messageOf(error)}`,
      { cause: error },
    );
  }

  async #begin(ram: RamSender): Promise<void> {
    const { source, plan } = this.#owner;
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
    this.#writer.command({ name: "PING", value: 1 });
    this.#writer.command({ name: "PING", value: MOLT_PING });
    if (ownership) this.#writer.command({ name: "PING", value: ownership.number });
    this.#returnPath = new ReturnPathReader(this.#channel.returnPath);
  }

  /** Pages are sent while the guest runs, until the rest is little. */
  async #switchOver(ram: RamSender): Promise<void> {
    const owner = this.#owner;
    const { source, plan } = owner;
    if (plan.mode !== "normal") owner.stop();
    owner.advance("active");
    while (!await ram.pass()) {
      await this.#sender.flush();
      this.#returnPath?.check();
    }
    if (plan.capabilities.has("switchover-ack")) {
      await this.#unlessCancelled(this.#returnPath?.switchoverAcknowledged);
    }
    owner.stop();
    await this.#pause();
    owner.advance("device");
    this.#announceSwitchover();
    await ram.finish();
    saveDevices(this.#writer, source, this.#runState());
    this.#writer.finish(!source.suppressDescription);
    await this.#sender.flush();
    await this.#channel.finish();
    this.#owner.saved();
  }

  /** Memory stays where it is: the guest stops at the last moment. */
  async #switchOverInPlace(ram: RamSender): Promise<void> {
    const owner = this.#owner;
    const { source, plan } = owner;
    const { rehearseSaving } = await import("./rehearsal.ts");
    await rehearseSaving(source);
    if (plan.capabilities.has("switchover-ack")) {
      await this.#unlessCancelled(this.#returnPath?.switchoverAcknowledged);
    }
    this.#announceSwitchover();
    await ram.finish();
    this.#returnPath?.check();
    owner.stop();
    const pauses = plan.capabilities.has("pause-before-switchover");
    if (pauses) {
      this.#tellActive();
      await this.#pause();
    }
    // A molt that the guest comes to loads one part while the next one is saved.
    const inParts = this.#returnPath?.destinationAwaitsCommit ?? false;
    if (inParts) this.#sender.sendWhatFits();
    for (const _ of savingDevices(this.#writer, source, this.#runState())) {
      if (inParts && this.#writer.buffer.length >= PART) this.#sender.sendWhatFits();
    }
    this.#writer.end();
    const sent = this.#sender.flush();
    // Who is told of it needs a processor, and so does the destination: that one first.
    if (this.#returnPath !== undefined) hasInput(this.#channel.fd, ARRIVAL_MS);
    if (!pauses) this.#tellActive();
    owner.advance("device");
    await sent;
    if (!source.suppressDescription) this.#writer.describe();
    await this.#sender.flush();
    await this.#channel.finish();
    this.#owner.saved();
  }

  /** As QEMU tells it: the look at what is dirty at the beginning counts as the first pass. */
  #tellActive(): void {
    this.#owner.advance("active");
    this.#owner.passBegan(2);
  }

  async #pause(): Promise<void> {
    if (!this.#owner.plan.capabilities.has("pause-before-switchover")) return;
    this.#owner.advance("pre-switchover");
    await this.#unlessCancelled(this.#owner.continued);
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

  /** Waits until the destination has the guest. */
  async #handOver(returnPath: ReturnPathReader): Promise<void> {
    const { ownership } = this.#owner;
    // While the destination loads.
    const handingOver = ownership && this.#owner.handingOver();
    handingOver?.catch(() => {});
    try {
      await this.#unlessCancelled(returnPath.loaded);
      await handingOver;
    } catch (error) {
      await handingOver?.catch(() => {});
      // With a shared word the migration's exit decides.
      if (returnPath.destinationAwaitsCommit && ownership === undefined) this.#abort();
      if (returnPath.destinationAwaitsCommit || !(error instanceof MigrationCancelled)) throw error;
      // This destination starts the guest by itself: only its answer tells whether it has.
      await returnPath.loaded.catch(() => {
        throw error;
      });
    }
    if (!returnPath.destinationAwaitsCommit || ownership !== undefined) return;
    this.#writer.command({ name: "COMMIT" });
    await this.#sender.flush();
    await this.#awaitEnd();
  }

  /** Tells a destination that has loaded the machine to give it up. One that is gone needs not be told. */
  #abort(): void {
    this.#writer.command({ name: "ABORT" });
    try {
      send(this.#channel.fd, this.#writer.take());
    } catch (error) {
      if (!isBrokenChannel(error)) throw error;
    }
  }

  /**
   * Waits until a destination that was told to start the guest closes the connection. One that died
   * before it read that resets the connection, and then the guest is still here.
   */
  async #awaitEnd(): Promise<void> {
    const buffer = new Uint8Array(64);
    while (await this.#channel.returnPath?.read(buffer)) { /* it has nothing more to say */ }
  }

  async #unlessCancelled<Value>(promise: Promise<Value> | undefined): Promise<Value | undefined> {
    const { signal } = this.#owner;
    if (signal.aborted) throw new MigrationCancelled();
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
