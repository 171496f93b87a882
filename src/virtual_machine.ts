/**
 * One virtual machine, put together from its configuration:
 *
 *   inherited descriptors -> chardevs -> guest -> monitors -> incoming stream or reset -> run
 *
 * What a live update waits for comes first; what only serves people (command tables, schemas) is
 * loaded when the guest runs. With -incoming's cpr channel the monitors come before the guest, which
 * is built when a source has handed over its descriptors.
 */
import type { ChardevOptions } from "./configuration/chardev.ts";
import type { ChardevEnvironment } from "./backends/chardev.ts";
import { Chardevs } from "./backends/chardevs.ts";
import { DescriptorStore } from "./backends/descriptor_store.ts";
import { goingOn, interimChardev } from "./backends/interim_chardevs.ts";
import { channelAddress, parseUri } from "./channel/address.ts";
import type { MonitorConfig } from "./configuration/character.ts";
import type { IncomingConfig, MigrationAddress } from "./configuration/migration.ts";
import type { VirtualMachineConfig } from "./configuration/virtual_machine.ts";
import { announceParameters } from "./guest/announcements.ts";
import { Guest } from "./guest/guest.ts";
import type { ShutdownReason } from "./machine/machine.ts";
import type { Microvm } from "./machine/microvm.ts";
import { LiveUpdate } from "./live_update.ts";
import type { InheritedDescriptors } from "./migration/cpr/descriptors.ts";
import { Ownership, OWNERSHIP_NAME } from "./migration/cpr/ownership.ts";
import { Timeline } from "./migration/cpr/timeline.ts";
import { takeWaitingGuest, type WaitingGuest } from "./migration/cpr/interim_monitor.ts";
import { type Handover, HandoverListener } from "./migration/cpr/transfer.ts";
import { messageOf } from "./migration/errors.ts";
import { loadWarmUp } from "./migration/late_modules.ts";
import { Migration } from "./migration/migration.ts";
import { readMigrationProperties } from "./migration/properties.ts";
import { EventHub } from "./monitor/events.ts";
import { Monitors } from "./monitor/monitors.ts";
import { monitorContext, updateInformation } from "./monitored/context.ts";
import { ChannelCancelled } from "./native/channel.ts";
import { isInherited } from "./native/descriptor.ts";
import { EventLoop } from "./native/event_loop.ts";
import { boardTarget } from "./qtest/board.ts";
import { serveQtest } from "./qtest/server.ts";
import { reportFault, reportFaults } from "./process/faults.ts";
import { launch } from "./process/launch.ts";
import { announce, report } from "./process/messages.ts";

/** A running virtual machine and everything around it. */
export class VirtualMachine implements Disposable {
  readonly config: VirtualMachineConfig;
  readonly timeline: Timeline;
  readonly descriptors: DescriptorStore;
  readonly chardevs: Chardevs;
  readonly migration: Migration;
  readonly monitors: Monitors;
  readonly events: EventHub;
  readonly #loop: EventLoop;
  readonly #chardevEnvironment: ChardevEnvironment;
  readonly #ended = Promise.withResolvers<ShutdownReason>();
  readonly #opened = Promise.withResolvers<void>();
  readonly #resources = new DisposableStack();
  readonly #update: LiveUpdate;
  /** Which of two processes has the guest that one hands over. */
  #ownership: Ownership | undefined;
  #standsIn = false;
  /** The guest is with an interim monitor. */
  #waiting: WaitingGuest | undefined;
  #guest: Guest | undefined;
  #qtest: Disposable | undefined;

  private constructor(config: VirtualMachineConfig, loop: EventLoop, timeline: Timeline) {
    this.config = config;
    this.timeline = timeline;
    this.#loop = loop;
    this.events = this.#resources.use(new EventHub(loop));
    this.descriptors = this.#resources.use(new DescriptorStore());
    this.#chardevEnvironment = {
      loop,
      takesOver: () => this.#update.takesOver,
      adopt: (name, id) => this.#update.adopt(name, id),
      takeNamedDescriptor: (name) => this.descriptors.takeNamed(name),
      openPath: this.descriptors.openPath,
      report,
      announce,
      quit: () => this.end("host-ui"),
      commitDisks: () => {},
    };
    this.chardevs = this.#resources.use(new Chardevs(this.#chardevEnvironment));
    this.migration = this.#createMigration();
    this.monitors = this.#resources.use(new Monitors(monitorContext(this), this.events));
    this.#update = this.#resources.use(
      new LiveUpdate({
        chardevs: this.chardevs,
        monitors: this.monitors,
        descriptors: this.descriptors,
        timeline,
        guestDescriptors: () => this.#guest?.descriptors() ?? [],
      }),
    );
    // Nobody may be waiting for the end yet.
    this.#ended.promise.catch(() => {});
  }

  /** Builds the machine and starts what its configuration says. */
  static async create(
    config: VirtualMachineConfig,
    loop: EventLoop,
    inherited: InheritedDescriptors | undefined,
    timeline: Timeline,
  ): Promise<VirtualMachine> {
    using undo = new DisposableStack();
    const vm = undo.use(new VirtualMachine(config, loop, timeline));
    await vm.#start(inherited);
    undo.move();
    return vm;
  }

  /**
   * Builds the guest that `handover` is for, to take care of it while its monitor executes a successor
   * (migration/cpr/interim_monitor.ts): there are no monitors, and character devices are stand-ins.
   */
  static async standIn(
    config: VirtualMachineConfig,
    loop: EventLoop,
    { descriptors }: Handover,
  ): Promise<VirtualMachine> {
    using undo = new DisposableStack();
    const vm = undo.use(new VirtualMachine(config, loop, new Timeline(descriptors, "interim")));
    const has = (name: string) => descriptors.has(name);
    const chardevs = config.chardevs.map((options) => interimChardev(options, has));
    vm.#standsIn = true;
    vm.#receive(descriptors);
    await vm.#createChardevs(chardevs);
    const guest = await vm.#buildGuest(true);
    await vm.#warmUpArrival(guest);
    // Whoever stays with the guest loads nothing then: the files may be the new program's.
    await vm.#loadTheRest();
    vm.#opened.resolve();
    undo.move();
    return vm;
  }

  /** An interim monitor whose guest nobody took goes on as its monitor: the stand-ins become real. */
  async keepGuest(): Promise<void> {
    this.#standsIn = false;
    this.timeline.becomeMonitor();
    const shared = new Set<string>();
    for (const options of this.config.chardevs) {
      if (options.mux || options.backend.kind === "mux") {
        report(`the multiplexer '${options.id}' goes on as output only`);
        shared.add(options.id);
      } else {
        // The guest is more than any of its devices: this one stays a stand-in.
        await this.chardevs.change(goingOn(options)).catch((error) => report(messageOf(error)));
      }
    }
    this.#addMonitors(this.config.monitors.filter(({ chardev }) => !shared.has(chardev)));
    this.chardevs.start();
  }

  /** The guest; absent while the machine waits for what it is to be built from. */
  get guest(): Guest | undefined {
    return this.#guest;
  }

  /** The guest's board. Throws while there is no guest. */
  get board(): Microvm {
    if (this.#guest === undefined) throw new Error("The guest has not arrived yet");
    return this.#guest.board;
  }

  /** It is built when a source hands over what it is built from. */
  get awaitsGuest(): boolean {
    return this.#guest === undefined;
  }

  /** Resolves when everything that the configuration names has been opened. */
  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  /** Resolves with the reason when the machine has ended; rejects if it could not be loaded. */
  get ended(): Promise<ShutdownReason> {
    return this.#ended.promise;
  }

  /** Ends the machine, after what is under way. */
  end(reason: ShutdownReason): void {
    if (this.#guest !== undefined) {
      this.#guest.board.machine.requestShutdown(reason);
      return;
    }
    this.events.emit({ name: "SHUTDOWN", data: { guest: false, reason } });
    this.#ended.resolve(reason);
  }

  async #start(inherited: InheritedDescriptors | undefined): Promise<void> {
    const { config, monitors } = this;
    // A successor has its predecessor's sets where whoever starts it gives it none.
    const succeeds = inherited !== undefined || config.incoming?.cpr !== undefined;
    for (const { fd, set, opaque } of config.inheritedDescriptors) {
      if (!succeeds || isInherited(fd)) this.descriptors.addInherited(fd, set, opaque);
    }
    if (inherited !== undefined) {
      this.#receive(inherited);
      this.#waiting = this.#takeWaitingGuest();
    }
    if (config.incoming?.cpr !== undefined && inherited === undefined) {
      await this.#startWithoutGuest(config.incoming.cpr);
      return;
    }
    await this.#createChardevs(config.chardevs);
    const guest = await this.#buildGuest(config.incoming !== undefined || inherited !== undefined);
    this.#addMonitors(config.monitors);
    this.#serveQtest(guest);
    this.chardevs.start();
    // An execve has left nobody else who uses what survives.
    if (config.incoming?.main.kind === "defer") this.#update.arrive();
    // The guest waits for nobody who asks for a command table.
    if (this.#update.takesOver) monitors.hold();
    await this.#startGuest(guest);
    this.#opened.resolve();
    if (!this.#update.takesOver) this.#loadInBackground();
  }

  /** Loads what nobody has needed so far: the commands of monitors, the code of live updates. */
  async #loadTheRest(): Promise<void> {
    await this.monitors.preload();
    await loadWarmUp();
  }

  /** The same where nobody waits for it. What cannot be loaded now is loaded when it is needed. */
  #loadInBackground(): void {
    this.#loadTheRest().catch(reportFault);
  }

  /** Takes over what another process hands over. */
  #receive(descriptors: InheritedDescriptors): void {
    this.#ownership?.[Symbol.dispose]();
    const ownership = descriptors.take(OWNERSHIP_NAME);
    this.#ownership = ownership && Ownership.adopt(ownership);
    this.#update.receive(descriptors);
  }

  async #createChardevs(options: readonly ChardevOptions[]): Promise<void> {
    for (const option of options) await this.chardevs.create(option);
  }

  #addMonitors(monitors: readonly MonitorConfig[]): void {
    for (const { chardev, mode, pretty } of monitors) {
      this.monitors.add(this.chardevs.port(chardev), { mode, pretty });
    }
  }

  async #buildGuest(incoming: boolean): Promise<Guest> {
    const guest = await Guest.create(this.config, {
      loop: this.#loop,
      chardevs: this.chardevs,
      descriptors: this.descriptors,
      adopt: (name, id) => this.#update.adopt(name, id),
      incoming,
      emit: (event) => this.events.emit(event),
    });
    this.#guest = guest;
    void guest.board.machine.ended.then((reason) => this.#ended.resolve(reason));
    return guest;
  }

  /** Serves -qtest, if it was given, for as long as there is this guest. */
  #serveQtest({ board, accelerator }: Guest): void {
    this.#qtest?.[Symbol.dispose]();
    this.#qtest = undefined;
    if (this.config.qtest === undefined) return;
    const { chardev, log } = this.config.qtest;
    const target = boardTarget(board, accelerator);
    const port = this.chardevs.port(chardev);
    this.#qtest = serveQtest(this.#chardevEnvironment, port, log, target);
  }

  async #startGuest(guest: Guest): Promise<void> {
    const { machine } = guest.board;
    const { incoming, startPaused } = this.config;
    const waiting = this.#waiting;
    if (waiting) {
      using guestElsewhere = waiting;
      await this.#warmUpArrival(guest);
      // Whatever takes this thread's time is done while the guest runs there.
      await this.#loadTheRest();
      await guestElsewhere.call();
      await this.migration.receive(guestElsewhere.channel);
      this.#waiting = undefined;
      // Clients have been notified.
      if (waiting.has("SHUTDOWN") && this.config.actions.shutdown === "poweroff") {
        this.#ended.resolve("guest-shutdown");
      }
    } else if (incoming === undefined) {
      machine.resetDevices();
      if (!startPaused) machine.start();
    } else if (incoming.main.kind !== "defer") {
      await this.#listen(incoming.main);
    }
  }

  /**
   * The guest that waits with an interim monitor, if there is one. Nothing was created yet: a successor that
   * comes too late must not put itself in the place of the sockets that are the guest's again.
   */
  #takeWaitingGuest(): WaitingGuest | undefined {
    const waiting = takeWaitingGuest((name) => this.#update.adopt(name));
    if (waiting === undefined || this.#ownership?.decision !== "kept") return waiting;
    waiting[Symbol.dispose]();
    throw new Error("too late for the guest: it has stayed with the process that it waited in");
  }

  /** Waits for the guest where the option says, which stands before what goes wrong. */
  async #listen(main: Exclude<IncomingConfig["main"], { kind: "defer" }>): Promise<void> {
    try {
      await this.migration.listen(mainAddress(main), true);
    } catch (error) {
      const option = main.kind === "uri" ? `-incoming ${main.uri}` : "-incoming";
      throw new Error(`${option}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Has monitors answer while the machine waits for a source that hands over its descriptors. */
  async #startWithoutGuest(cpr: MigrationAddress): Promise<void> {
    const { chardevs, monitors } = this.config;
    const early = earlyChardevs(this.config);
    await this.#createChardevs(chardevs.filter(({ id }) => early.has(id)));
    const listener = this.#resources.use(
      await HandoverListener.listen(channelAddress(cpr), this.descriptors),
    );
    this.migration.awaitHandover(listener.addresses);
    this.#addMonitors(monitors.filter(({ chardev }) => early.has(chardev)));
    this.chardevs.start();
    this.#loadInBackground();
    const late = {
      chardevs: chardevs.filter(({ id }) => !early.has(id)),
      monitors: monitors.filter(({ chardev }) => !early.has(chardev)),
    };
    this.#receiveHandovers(listener, late).catch((error) => this.#ended.reject(error));
  }

  /** Builds the guest for each source that hands over, until one's guest has arrived. */
  async #receiveHandovers(listener: HandoverListener, late: LateParts): Promise<void> {
    let failure: string | undefined;
    for (;;) {
      this.migration.awaitHandover(listener.addresses, failure);
      try {
        using handover = await listener.accept(() =>
          this.migration.parameters["x-handover-timeout"]
        );
        if (await this.#takeOver(handover, listener, late)) break;
        failure = undefined;
      } catch (error) {
        if (error instanceof ChannelCancelled) return;
        failure = messageOf(error);
      }
    }
    listener[Symbol.dispose]();
  }

  /** Builds the guest and waits for its state; false if the source gives up before. */
  async #takeOver(
    handover: Handover,
    listener: HandoverListener,
    late: LateParts,
  ): Promise<boolean> {
    const main = this.config.incoming?.main;
    using undo = new DisposableStack();
    undo.defer(() => this.#discardGuest(late));
    this.#receive(handover.descriptors);
    await this.#createChardevs(late.chardevs);
    await this.#warmUpArrival(await this.#buildGuest(true));
    this.#addMonitors(late.monitors);
    if (this.#guest !== undefined) this.#serveQtest(this.#guest);
    if (main !== undefined && main.kind !== "defer") {
      await this.migration.listen(mainAddress(main), false);
    }
    const gone = handover.sourceGone().then(() => undefined, () => undefined);
    const incoming = await Promise.race([this.migration.listening(), gone]);
    handover.taken();
    if (incoming === undefined) return false;
    // A source that tries again connects here first.
    listener.pending().then(() => incoming.abandon("the source tries again"), () => {});
    const died = "the source's process has ended before it sent the guest's state";
    handover.process?.readable().then(() => incoming.abandon(died), () => {});
    if (!await incoming.finished) return false;
    undo.move();
    this.#opened.resolve();
    return true;
  }

  /** A guest comes soon by live update, and its time is short. */
  async #warmUpArrival(guest: Guest): Promise<void> {
    const { warmUpArrival } = await loadWarmUp();
    using discarded = new EventHub(this.#loop);
    await warmUpArrival(guest.source, discarded);
  }

  #discardGuest({ chardevs, monitors }: LateParts): void {
    this.#qtest?.[Symbol.dispose]();
    this.#qtest = undefined;
    this.#guest?.[Symbol.dispose]();
    this.#guest = undefined;
    for (const { chardev } of monitors) this.monitors.remove(chardev);
    for (const { id } of chardevs.toReversed()) this.chardevs.discard(id);
    this.#update.discard();
  }

  #createMigration(): Migration {
    const emitToClients = (event: Parameters<EventHub["emit"]>[0]) => {
      if (this.migration.has("events")) this.events.emit(event);
    };
    // deno-lint-ignore no-this-alias
    const vm = this;
    return new Migration(
      {
        get source() {
          return vm.#guest?.source;
        },
        get blockers() {
          return vm.#guest?.blockers;
        },
        get handedOver() {
          const names = vm.#update.adopted;
          return names && { names, ownership: vm.#ownership };
        },
        timeline: this.timeline,
        given: this.descriptors,
        statusChanged: (status) => emitToClients({ name: "MIGRATION", data: { status } }),
        passBegan: (pass) => emitToClients({ name: "MIGRATION_PASS", data: { pass } }),
        loadFailed: (error) => void this.monitors.drained().then(() => this.#ended.reject(error)),
        get update() {
          return vm.#update;
        },
        guestComes: () => this.events.hold(),
        guestArrived: () => this.#guestArrived(),
      },
      {
        properties: readMigrationProperties(this.config.globals),
        incoming: this.config.incoming !== undefined,
        dirtyRing: usesDirtyRing(this.config),
        startAfterLoad: !this.config.startPaused,
      },
    );
  }

  /** The guest came from elsewhere, and does here what it did there. */
  #guestArrived(): void {
    this.#ownership?.[Symbol.dispose]();
    this.#ownership = undefined;
    using undo = new DisposableStack();
    undo.defer(() => this.events.release());
    undo.defer(() => this.monitors.serve());
    this.#update.arrive();
    this.events.replay(this.#waiting?.events() ?? []);
    if (this.#update.adopted !== undefined && !this.#standsIn) {
      this.events.emit({ name: "x-MONITOR_REPLACED", data: updateInformation(this.timeline) });
    }
    if (!this.#standsIn) {
      const { running } = this.board.machine;
      const parameters = announceParameters(this.migration.parameters);
      this.#guest?.announcements.guestArrived(parameters, running);
    }
    // Loading takes long: whatever was to happen at once comes first.
    setTimeout(() => {
      reportFaults(() => launch.arrived());
      if (!this.#standsIn) this.#loadInBackground();
    });
  }

  [Symbol.dispose](): void {
    this.#qtest?.[Symbol.dispose]();
    this.#guest?.[Symbol.dispose]();
    this.#ownership?.[Symbol.dispose]();
    this.#resources[Symbol.dispose]();
  }
}

/** Where -incoming says that the machine's state comes from. */
function mainAddress(main: Exclude<IncomingConfig["main"], { kind: "defer" }>) {
  return main.kind === "uri" ? parseUri(main.uri) : channelAddress(main.address);
}

/** What is made when a source hands over: the rest is there before. */
interface LateParts {
  readonly chardevs: readonly ChardevOptions[];
  readonly monitors: readonly MonitorConfig[];
}

/**
 * Character devices that monitors use, with those under multiplexers, so that they answer before a source
 * comes. Not those that survive live updates: the source has their descriptors.
 */
function earlyChardevs({ monitors, chardevs }: VirtualMachineConfig): ReadonlySet<string> {
  const ids = new Set(monitors.map(({ chardev }) => chardev));
  for (const { id, backend } of chardevs.toReversed()) {
    if (ids.has(id) && backend.kind === "mux") ids.add(backend.chardev);
  }
  for (const { id, backend, cpr } of chardevs) {
    if (cpr || (backend.kind === "mux" && !ids.has(backend.chardev))) ids.delete(id);
  }
  return ids;
}

function usesDirtyRing({ accelerators }: VirtualMachineConfig): boolean {
  return accelerators.some((accelerator) =>
    accelerator.kind === "kvm" && accelerator.dirtyRingSize > 0
  );
}
