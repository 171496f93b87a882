/**
 * The destination of a migration: waits for the source, reads its stream to the end, gives every device
 * its state, and goes on with what the source was doing.
 *
 *   setup       listening, or a file is open
 *   active      configuration -> block list -> pages ... -> devices -> end of stream
 *   completed   the machine runs, or is paused as it was at the source
 *   failed      it does not, and can be loaded again
 *
 * Pages go to RAM as they come, device states are kept until the stream is known to be whole; in a live
 * update, where the guest is paused already, devices get theirs as it comes. With a return path the
 * source is notified (return_path.ts), and a source that can takes its last chance then.
 */
import type { ChannelAddress } from "../channel/address.ts";
import type { IncomingChannel } from "../channel/channel.ts";
import type { GivenDescriptors } from "../channel/path.ts";
import type { StreamChannel } from "../channel/stream.ts";
import {
  type IncomingChannels,
  listenForMigration,
  type ListeningAddress,
  type MigrationListener,
} from "../channel/incoming.ts";
import { allowsTransition, isRunState } from "../machine/run_state.ts";
import { reportFaults } from "../process/faults.ts";
import { report } from "../process/messages.ts";
import { loadFailure, messageOf, MigrationError } from "./errors.ts";
import { IncomingSession, type SessionPlan } from "./incoming_session.ts";
import type { MigrationInformation } from "./information.ts";
import type { MigratableMachine } from "./source.ts";
import type { MigrationStatus } from "./status.ts";
import type { MigrationDependencies } from "./dependencies.ts";
import { limitSilence } from "./tcp_limits.ts";

/** How a machine is to be loaded. */
export interface IncomingPlan extends SessionPlan {
  /** Whether the loaded machine runs if its source did. Asked when it is loaded. */
  readonly startAfterLoad: () => boolean;
}

/** What an attempt to load the machine needs of the process around it. */
export type IncomingDependencies = Pick<
  MigrationDependencies,
  "timeline" | "statusChanged" | "guestComes" | "guestArrived"
>;

/** How an attempt is connected to its source. */
type Connection =
  | { readonly kind: "none" }
  | { readonly kind: "listening"; readonly listener: MigrationListener }
  /** It loads from `channels`, which came to where it listened. */
  | {
    readonly kind: "loading";
    readonly addresses: readonly ListeningAddress[];
    readonly channels: readonly IncomingChannel[];
  };

/** One attempt to load the machine. */
export class IncomingMigration {
  readonly #dependencies: IncomingDependencies;
  readonly #target: () => MigratableMachine;
  readonly #plan: IncomingPlan;
  readonly #finished = Promise.withResolvers<boolean>();
  #connection: Connection = { kind: "none" };
  #status: MigrationStatus = "none";
  #errorDescription: string | undefined;
  #abandoned: string | undefined;
  #address: ChannelAddress | undefined;

  /** `target` is asked for the machine when a source is there. */
  constructor(
    dependencies: IncomingDependencies,
    target: () => MigratableMachine,
    plan: IncomingPlan,
  ) {
    this.#dependencies = dependencies;
    this.#target = target;
    this.#plan = plan;
  }

  get status(): MigrationStatus {
    return this.#status;
  }

  /** Resolves with whether the machine was loaded, when it is known. */
  get finished(): Promise<boolean> {
    return this.#finished.promise;
  }

  /** What it loads is in a file, and comes without a source. */
  get readsFile(): boolean {
    return this.#address?.kind === "file";
  }

  /** Where it listens. */
  get addresses(): readonly ListeningAddress[] {
    const connection = this.#connection;
    if (connection.kind === "none") return [];
    return connection.kind === "listening" ? connection.listener.addresses : connection.addresses;
  }

  /** Its part of query-migrate. */
  information(): MigrationInformation {
    const { addresses } = this;
    return {
      ...(this.#status === "none" ? {} : { status: this.#status }),
      ...(addresses.length === 0 ? {} : { "socket-address": [...addresses] }),
      ...(this.#errorDescription === undefined ? {} : { "error-desc": this.#errorDescription }),
    };
  }

  /** Listens, or opens what `address` names. Throws, having changed nothing, if that cannot be done. */
  async listen(address: ChannelAddress, given: GivenDescriptors): Promise<void> {
    this.#connection = { kind: "listening", listener: await listenForMigration(address, given) };
    this.#address = address;
    this.#setStatus("setup");
  }

  /** Loads the machine from what comes where {@linkcode listen} listens. Throws if it cannot be. */
  async run(): Promise<void> {
    try {
      using channels = await this.#accept();
      await this.#receive(channels.main, channels.multifd);
    } catch (error) {
      throw this.#fail(this.#abandoned ?? error);
    }
  }

  /** Loads the machine from a channel that is there. Throws if it cannot be. */
  async receiveFrom(channel: IncomingChannel): Promise<void> {
    this.#setStatus("setup");
    try {
      await this.#receive(channel);
    } catch (error) {
      throw this.#fail(this.#abandoned ?? error);
    }
  }

  /** Cuts the connections: loading fails. Nothing happens if there are none yet. */
  yank(): void {
    const connection = this.#connection;
    const before = this.#abandoned;
    this.#abandoned = "the connection was cut by 'yank'";
    if (connection.kind === "loading") connection.channels.forEach((channel) => channel.cancel());
    else if (connection.kind === "none" || !connection.listener.cut()) this.#abandoned = before;
  }

  /** Ends the waiting for a source that has not come. */
  abandon(reason: string): void {
    if (this.#connection.kind !== "listening") return;
    this.#abandoned = reason;
    this.#connection.listener.cancel();
  }

  async #accept(): Promise<IncomingChannels> {
    const { capabilities, parameters } = this.#plan;
    if (this.#connection.kind !== "listening") throw new Error("listen() comes before run()");
    const { listener } = this.#connection;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await listener.accept(() => {
        // A source connects them all at once.
        const milliseconds = parameters()["x-handover-timeout"];
        timer = setTimeout(() => {
          this.#abandoned = `not all connections were made within ${milliseconds} ms`;
          listener.cut();
        }, milliseconds);
        return capabilities().has("multifd") ? parameters()["multifd-channels"] : 0;
      });
    } finally {
      clearTimeout(timer);
      listener[Symbol.dispose]();
    }
  }

  async #receive(
    channel: IncomingChannel,
    multifd: readonly StreamChannel[] = [],
  ): Promise<void> {
    const { timeline } = this.#dependencies;
    timeline.mark("machine built");
    const { phases } = timeline;
    timeline.incomingBegins();
    phases.begin("load", 0);
    const channels = [channel, ...multifd];
    for (const each of channels) limitSilence(each, this.#address, this.#plan.parameters());
    this.#connection = { kind: "loading", addresses: this.addresses, channels };
    this.#setStatus("active");
    await using session = new IncomingSession(this.#plan, this.#target(), channel, multifd);
    const runState = await session.load();
    timeline.mark("state loaded");
    phases.begin("take-over", session.bytes);
    this.#checkRunState(runState);
    const doubt = await session.takeOver();
    this.#errorDescription = doubt;
    phases.begin("resume", session.bytes);
    this.#dependencies.guestComes();
    // Nobody else has the guest any more: one that cannot go on stays here, stopped.
    reportFaults(() => this.#goOn(doubt === undefined ? runState : "paused"));
    timeline.mark("running");
    phases.end(session.bytes);
    this.#connection = { kind: "none" };
    this.#setStatus("completed");
    // The guest is here: what fails beside it is reported, and costs no more than that.
    await session.end().catch((error) => report(messageOf(error)));
    reportFaults(() => this.#dependencies.guestArrived());
    phases.trace();
    this.#finished.resolve(true);
  }

  /** Refuses, while the source may still keep the guest, a run state that the machine cannot take over. */
  #checkRunState(name: string): void {
    const { machine } = this.#target();
    if (isRunState(name) && allowsTransition(machine.runState, name)) return;
    throw new MigrationError(`Received an invalid run state '${name}'`);
  }

  /** What the loaded machine does: what it did at its source, if it is to start at all. */
  #goOn(runState: string): void {
    const { machine } = this.#target();
    machine.goOn(runState === "running" && !this.#plan.startAfterLoad() ? "paused" : runState);
  }

  #fail(error: unknown): MigrationError {
    const { phases } = this.#dependencies.timeline;
    phases.end(0);
    phases.trace();
    this.#connection = { kind: "none" };
    this.#errorDescription = loadFailure(error);
    this.#setStatus("failed");
    this.#finished.resolve(false);
    return new MigrationError(this.#errorDescription, { cause: error });
  }

  #setStatus(status: MigrationStatus): void {
    this.#status = status;
    this.#dependencies.statusChanged(status);
  }
}
