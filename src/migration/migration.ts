/**
 * The machine's migrations: parameters, capabilities, and one attempt at a time to move the machine
 * away (outgoing/attempt.ts) or to load it (incoming.ts). What monitors ask for is checked here.
 */
import {
  type ChannelAddress,
  channelAddress,
  checkTransport,
  parseUri,
} from "../channel/address.ts";
import type { IncomingChannel, OutgoingChannel } from "../channel/channel.ts";
import type { ListeningAddress } from "../channel/incoming.ts";
import type { MigrationAddress } from "../configuration/migration.ts";
import { inPlaceModes } from "./blockers.ts";
import { type CapabilityName, type CapabilitySet, CapabilityStore } from "./capabilities.ts";
import type { Ownership } from "./cpr/ownership.ts";
import { checkSuccessor, type PreflightResult } from "./cpr/preflight/check.ts";
import { MigrationError } from "./errors.ts";
import { IncomingMigration, type IncomingPlan } from "./incoming.ts";
import type { MigrationInformation } from "./information.ts";
import { loadWarmUp } from "./late_modules.ts";
import { OutgoingMigration } from "./outgoing/attempt.ts";
import type { OutgoingPlan, Route } from "./outgoing/plan.ts";
import { type MigrationMode, type MigrationParameters, ParameterStore } from "./parameters.ts";
import type { MigrationProperties, StreamProperties } from "./properties.ts";
import type { MigratableMachine } from "./source.ts";
import type { MigrationStatusName } from "../qapi/names.ts";
import { isUnderWay } from "./status.ts";
import type { MigrationDependencies } from "./dependencies.ts";

/** A channel as monitors name it. */
export interface ChannelRequest {
  readonly "channel-type": "main" | "cpr";
  readonly addr: MigrationAddress;
}

/** Where to, in either of two ways. */
export interface ChannelsRequest {
  readonly uri?: string | undefined;
  readonly channels?: readonly ChannelRequest[] | undefined;
}

/** What the machine was configured with for migrations when it started. */
export interface MigrationOptions {
  readonly properties: MigrationProperties;
  /** -incoming was given. */
  readonly incoming: boolean;
  readonly dirtyRing: boolean;
  /** Not -S: a loaded machine runs if its source did. */
  readonly startAfterLoad: boolean;
}

/** A machine that is not built before a source has handed over its descriptors. */
interface AwaitedHandover {
  readonly addresses: readonly ListeningAddress[];
  /** Why the latest handover came to nothing. */
  readonly failure: string | undefined;
  readonly listening: PromiseWithResolvers<IncomingMigration>;
}

/** A machine's migrations, one at a time. */
export class Migration {
  readonly #dependencies: MigrationDependencies;
  readonly #options: MigrationOptions;
  readonly #parameters = new ParameterStore();
  readonly #capabilities = new CapabilityStore();
  readonly #stream: StreamProperties;
  #outgoing: OutgoingMigration | undefined;
  #incoming: IncomingMigration | undefined;
  #handover: AwaitedHandover | undefined;
  /** How the update that this interim monitor was started for has ended, until there is another attempt. */
  #updateOutcome: MigrationInformation | undefined;
  /** This is an interim monitor, and the guest is to leave for a successor that is not ready yet. */
  #successor: { cancel(): void } | undefined;
  #startAfterLoad: boolean;

  constructor(
    dependencies: MigrationDependencies,
    options: MigrationOptions,
  ) {
    this.#dependencies = dependencies;
    this.#options = options;
    this.#startAfterLoad = options.startAfterLoad;
    this.#stream = options.properties.stream;
    this.#parameters.set(Object.fromEntries(options.properties.parameters));
    this.setCapabilities(
      options.properties.capabilities.map((capability) => ({ capability, state: true })),
    );
  }

  /** The parameters' values. */
  get parameters(): MigrationParameters {
    return this.#parameters.values;
  }

  /** Sets parameters, values being those of QMP: all of them, or none. */
  setParameters(given: Readonly<Record<string, unknown>>): void {
    this.#parameters.set(given);
  }

  /** Sets a parameter to what a person typed. */
  setParameterFromText(name: string, text: string): void {
    this.#parameters.setFromText(name, text);
  }

  /** The lines of `info migrate_parameters`. */
  describeParameters(): string[] {
    return this.#parameters.describe();
  }

  /** True if a capability is on. */
  has(name: CapabilityName): boolean {
    return this.#capabilities.has(name);
  }

  /** Turns capabilities on and off: all of them, or none. */
  setCapabilities(
    changes: readonly { readonly capability: CapabilityName; readonly state: boolean }[],
  ): void {
    if (this.underWay) throw new MigrationError("There's a migration process in progress");
    this.#capabilities.set(changes, {
      incomingStarted: this.#incoming?.status === "setup" || this.#incoming?.status === "active",
      compression: this.parameters["multifd-compression"],
      dirtyRing: this.#options.dirtyRing,
    });
  }

  /** All capabilities, in QEMU's order. */
  listCapabilities(): { readonly capability: CapabilityName; readonly state: boolean }[] {
    return this.#capabilities.list();
  }

  /** True while the machine is being moved away. */
  get underWay(): boolean {
    return this.#successor !== undefined ||
      (this.#outgoing !== undefined && isUnderWay(this.#outgoing.status));
  }

  /** Resolves when the latest attempt to move the machine away has ended. */
  get ended(): Promise<void> {
    return this.#outgoing?.ended ?? Promise.resolve();
  }

  /** What query-migrate reports. */
  query(): MigrationInformation {
    const blocked = this.#dependencies.blockers?.reasons(this.parameters.mode) ?? [];
    return {
      ...this.#handoverInformation(),
      ...this.#incoming?.information(),
      ...this.#outgoing?.information(),
      ...(this.#successor === undefined
        ? {}
        : { "status": "active", "x-waiting-for": "the successor" }),
      ...this.#updateOutcome,
      ...(blocked.length === 0 ? {} : { "blocked-reasons": blocked }),
    };
  }

  /**
   * Starts an attempt. Throws what makes it impossible; what fails later is reported by query().
   * Without an address, cpr-exec hands the stream on in memory.
   */
  start(request: ChannelsRequest & { readonly resume?: boolean | undefined }): void {
    const { mode } = this.parameters;
    const capabilities = this.#capabilities.on;
    const { main, cpr } = this.#resolve(request);
    if (main !== undefined) {
      checkTransport(main, {
        seekable: capabilities.has("mapped-ram"),
        severalChannels: capabilities.has("multifd") && !capabilities.has("mapped-ram"),
        streamable: mode === "cpr-transfer",
      });
      if (capabilities.has("return-path") && (main.kind === "file" || main.kind === "exec")) {
        throw new MigrationError(
          "Capability 'return-path' requires a transport with a way back (e.g. tcp)",
        );
      }
    }
    if (request.resume) throw new MigrationError("Cannot resume if there is no paused migration");
    const source = this.#movableMachine();
    this.#dependencies.blockers?.check(mode);
    if (capabilities.has("mapped-ram") && this.parameters["multifd-compression"] !== "none") {
      throw new MigrationError("Cannot use compression with mapped-ram");
    }
    if (mode === "cpr-exec" && this.parameters["cpr-exec-command"].length === 0) {
      throw new MigrationError("cpr-exec mode requires setting cpr-exec-command");
    }
    const route = routeOf(mode, main, cpr);
    const plan = this.#plan(route, capabilities);
    const outgoing = new OutgoingMigration(this.#dependencies, source, plan);
    this.#outgoing = outgoing;
    this.#updateOutcome = undefined;
    outgoing.begin();
    // The monitor's reply goes out first.
    setTimeout(() => void outgoing.run());
  }

  /**
   * Whether `command` would take the guest over by a live update (cpr/preflight/protocol.ts). The guest runs
   * on. Throws while the machine is being moved.
   */
  async check(command: readonly string[]): Promise<PreflightResult> {
    const source = this.#movableMachine();
    this.#dependencies.blockers?.check("cpr-exec");
    const { update, timeline } = this.#dependencies;
    const { copyState } = await loadWarmUp();
    return await checkSuccessor({
      command,
      source,
      kept: [...update.forInterimMonitor(), timeline.kept],
      milliseconds: this.parameters["x-successor-timeout"],
      copyState,
    });
  }

  /** Asks the attempt under way to end. */
  cancel(): void {
    this.#successor?.cancel();
    this.#outgoing?.cancel();
  }

  /** True while there are, or are to be, connections that yank() cuts. */
  get yankable(): boolean {
    const status = this.#incoming?.status;
    return this.underWay || status === "setup" || status === "active";
  }

  /** Cuts the connections of a migration that hangs: it fails, and the guest is where it was. */
  yank(): void {
    this.#outgoing?.yank();
    this.#incoming?.yank();
  }

  /** Leaves the status `pre-switchover`. */
  continueFrom(status: MigrationStatusName): void {
    if (this.#outgoing !== undefined) return this.#outgoing.continueFrom(status);
    if (status !== "none") throw new MigrationError("Migration not in expected state: none");
  }

  /** True while `stop` and `cont` are not for the machine but for the migration. */
  get ownsRunState(): boolean {
    const runState = this.#dependencies.source?.machine.runState ?? "inmigrate";
    return runState === "inmigrate" || runState === "finish-migrate" || this.#memoryGivenAway;
  }

  /** Another process uses the memory that is still mapped here: the guest must never run here again. */
  get #memoryGivenAway(): boolean {
    return this.#outgoing?.status === "completed" && inPlaceModes.includes(this.#outgoing.mode);
  }

  /**
   * `stop` or `cont` came while the migration owns the run state. Before a load, that decides what
   * happens after it; at the source, `stop` decides what the guest does wherever it goes on.
   */
  setDesiredRunState(running: boolean): void {
    if (this.#memoryGivenAway) {
      if (!running) return;
      throw new MigrationError("The guest and its memory have been handed over to another process");
    }
    if (this.#dependencies.source?.machine.runState !== "finish-migrate") {
      this.#startAfterLoad = running;
    } else if (running) {
      throw new MigrationError("Migration is not finalized yet");
    } else {
      this.#outgoing?.userStopped();
    }
  }

  /**
   * Starts to load the machine from where a monitor says. Throws what makes that impossible. If it
   * fails later, it can be tried again, unless the process is to end then (`exitOnError`, which is
   * the default but for a machine that sources hand over).
   */
  async startIncoming(
    request: ChannelsRequest,
    exitOnError = this.#handover === undefined,
  ): Promise<void> {
    if (!this.#options.incoming) {
      throw new MigrationError("'-incoming' was not specified on the command line");
    }
    if (this.#incoming !== undefined && this.#incoming.status !== "failed") {
      throw new MigrationError("The incoming migration has already been started");
    }
    await this.listen(incomingAddress(request), exitOnError);
  }

  /** Listens at `address`, or opens it. The machine is loaded when something comes from there. */
  async listen(address: ChannelAddress, exitOnError: boolean): Promise<void> {
    const before = this.#incoming;
    const incoming = this.#newIncoming();
    this.#incoming = incoming;
    try {
      await incoming.listen(address, this.#dependencies.given);
    } catch (error) {
      this.#incoming = before;
      throw error;
    }
    incoming.run().catch((error) => {
      if (exitOnError) this.#dependencies.loadFailed(error);
    });
    this.#handover?.listening.resolve(incoming);
  }

  /**
   * Resolves when the machine was loaded, if it is loaded from a file, with whether that succeeded. At once
   * with true if it is not, because a source may come at any time.
   */
  async loadedFromFile(): Promise<boolean> {
    return this.#incoming?.readsFile ? await this.#incoming.finished : true;
  }

  /**
   * Loads the machine from a channel that is there. Throws if it cannot be. `claim` takes the guest of a file,
   * right before it goes on here; false if it is not to be had.
   */
  async receive(channel: IncomingChannel, claim?: () => boolean): Promise<void> {
    this.#incoming = this.#newIncoming(claim);
    await this.#incoming.receiveFrom(channel);
  }

  /**
   * Moves the machine to where `channel` leads, which has the ownership flag too. Resolves with whether it
   * moved. `handingOver` is called when all of it was sent, and before the channel ends.
   */
  async leave(
    channel: OutgoingChannel,
    ownership: Ownership,
    handingOver: () => void,
  ): Promise<boolean> {
    const { source } = this.#dependencies;
    if (source === undefined) throw new MigrationError("there is no machine to be moved");
    const plan = this.#plan({ kind: "return", channel, ownership, handingOver }, new Set());
    const outgoing = new OutgoingMigration(this.#dependencies, source, plan);
    this.#outgoing = outgoing;
    outgoing.begin();
    await outgoing.run();
    return outgoing.status === "completed";
  }

  /**
   * An interim monitor keeps its guest for good: what query-migrate reports now is that the update failed,
   * not how the guest came here.
   */
  updateFailed(reason: string): void {
    this.#updateOutcome = { "status": "failed", "error-desc": reason };
    this.#dependencies.statusChanged("failed");
  }

  /** The same where somebody has cancelled the update. */
  updateCancelled(): void {
    this.#updateOutcome = { "status": "cancelled" };
    this.#dependencies.statusChanged("cancelled");
  }

  /** An interim monitor waits for the successor, until this is called with `undefined`. */
  awaitSuccessor(successor: { cancel(): void } | undefined): void {
    this.#successor = successor;
  }

  /** The machine will be built from what a source hands over at `addresses`. */
  awaitHandover(addresses: readonly ListeningAddress[], failure?: string): void {
    this.#handover = { addresses, failure, listening: Promise.withResolvers() };
  }

  /** The attempt to load the machine, once there is one that listens on the main channel. */
  async listening(): Promise<IncomingMigration> {
    if (this.#incoming?.status === "setup") return this.#incoming;
    return await (this.#handover?.listening.promise ?? Promise.reject(new Error("no handover")));
  }

  #handoverInformation(): MigrationInformation {
    if (this.#handover === undefined || this.#dependencies.source !== undefined) return {};
    const { addresses, failure } = this.#handover;
    return {
      ...(addresses.length === 0 ? {} : { "socket-address": [...addresses] }),
      ...(failure === undefined ? {} : { "error-desc": failure }),
      "x-waiting-for": "the CPR state of a source",
    };
  }

  #plan(route: Route, capabilities: CapabilitySet): OutgoingPlan {
    return { route, capabilities, stream: this.#stream, parameters: () => this.parameters };
  }

  #newIncoming(claim?: () => boolean): IncomingMigration {
    const target = () => {
      const { source } = this.#dependencies;
      if (source === undefined) throw new MigrationError("the machine is not built yet");
      return source;
    };
    const plan: IncomingPlan = {
      handedOver: () => this.#dependencies.handedOver,
      capabilities: () => this.#capabilities.on,
      parameters: () => this.parameters,
      stream: this.#stream,
      claim,
      startAfterLoad: () => this.#startAfterLoad,
    };
    return new IncomingMigration(this.#dependencies, target, plan);
  }

  /** The machine, if its state allows that it is moved away. */
  #movableMachine(): MigratableMachine {
    const { source } = this.#dependencies;
    if (this.underWay) throw new MigrationError("There's a migration process in progress");
    if (source === undefined || source.machine.runState === "inmigrate") {
      throw new MigrationError("Guest is waiting for an incoming migration");
    }
    if (source.machine.runState === "postmigrate") {
      throw new MigrationError("Can't migrate the vm that was paused due to previous migration");
    }
    return source;
  }

  #resolve(
    { uri, channels }: ChannelsRequest,
  ): { readonly main?: ChannelAddress; readonly cpr?: ChannelAddress } {
    const given = channels === undefined || channels.length === 0 ? undefined : channels;
    if (uri === undefined && given === undefined && this.parameters.mode === "cpr-exec") return {};
    if ((uri === undefined) === (given === undefined)) throw new MigrationError(needOne);
    if (uri !== undefined) return { main: parseUri(uri) };
    const find = (type: "main" | "cpr") => {
      const [first, ...others] = given?.filter((entry) => entry["channel-type"] === type) ?? [];
      if (others.length > 0) {
        throw new MigrationError(`Channel list has more than one ${type} entry`);
      }
      return first && channelAddress(first.addr);
    };
    const [main, cpr] = [find("main"), find("cpr")];
    if (main === undefined) throw new MigrationError("Channel list has no main entry");
    return { main, ...(cpr === undefined ? {} : { cpr }) };
  }
}

/** The way to these channels. Throws if the mode cannot use them. */
function routeOf(
  mode: MigrationMode,
  main: ChannelAddress | undefined,
  cpr: ChannelAddress | undefined,
): Route {
  if (main === undefined) return { kind: "exec", main };
  switch (mode) {
    case "normal":
    case "cpr-reboot":
      return { kind: "stream", mode, main };
    case "cpr-exec":
      return { kind: "exec", main };
    case "cpr-transfer":
      return transferRoute(main, cpr);
  }
}

function transferRoute(main: ChannelAddress, cpr: ChannelAddress | undefined): Route {
  if (cpr === undefined) throw new MigrationError("missing 'cpr' migration channel");
  if (cpr.kind !== "unix") throw new MigrationError("bad cpr channel address; must be unix");
  // The destination listens after the source was given the address.
  if (main.kind === "inet" && Number(main.port) === 0) {
    throw new MigrationError("cpr-transfer needs a main channel whose port is known: not port 0");
  }
  return { kind: "transfer", main, cpr };
}

function incomingAddress({ uri, channels }: ChannelsRequest): ChannelAddress {
  const given = channels === undefined || channels.length === 0 ? undefined : channels;
  if ((uri === undefined) === (given === undefined)) throw new MigrationError(needOne);
  if (uri !== undefined) return parseUri(uri);
  const [only, ...others] = given ?? [];
  if (only?.["channel-type"] !== "main" || others.length > 0) {
    throw new MigrationError("Channel list must have only one entry, for type 'main'");
  }
  return channelAddress(only.addr);
}

const needOne = "need either 'uri' or 'channels' argument";
