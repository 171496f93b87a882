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
import { HandoverDestination, type MachineParts } from "./handover_destination.ts";
import type { ShutdownReason } from "./machine/machine_events.ts";
import type { Board } from "./machine/board.ts";
import { LiveUpdate } from "./live_update.ts";
import type { InheritedDescriptors } from "./migration/cpr/descriptors.ts";
import { Ownership, OWNERSHIP_NAME } from "./migration/cpr/ownership.ts";
import { Timeline } from "./migration/cpr/timeline.ts";
import { takeWaitingGuest, type WaitingGuest } from "./migration/cpr/interim/waiting_guest.ts";
import { answerStandby } from "./migration/cpr/interim/standby.ts";
import type { MonitorRole } from "./migration/cpr/role.ts";
import type { Handover } from "./migration/cpr/transfer.ts";
import { messageOf } from "./migration/errors.ts";
import { loadWarmUp } from "./migration/late_modules.ts";
import { Migration } from "./migration/migration.ts";
import { readMigrationProperties } from "./migration/properties.ts";
import { EventHub } from "./monitor/events.ts";
import { Monitors } from "./monitor/monitors.ts";
import { monitorContext, updateInformation } from "./monitored/context.ts";
import { bindTheRest } from "./native/binding.ts";
import { isInherited } from "./native/descriptor.ts";
import { namesSet } from "./native/descriptor_path.ts";
import { EventLoop } from "./native/event_loop.ts";
import { boardTarget } from "./qtest/board.ts";
import { serveQtest } from "./qtest/server.ts";
import { reportFault } from "./native/faults.ts";
import { reportFaults } from "./process/faults.ts";
import { collectGarbage } from "./process/garbage.ts";
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
  /** An interim monitor serves nobody: its guest's clients are the successor's. */
  #role: "monitor" | "interim" = "monitor";
  /** The guest that another process hands over, until it runs here. */
  #arrival: Arrival | undefined;
  /** Nothing is left to be loaded in the background. */
  #restLoaded = false;
  /** The guest that is built here; absent while nobody has handed over what it is built from. */
  #built: BuiltGuest | undefined;

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
        guestDescriptors: () => this.guest?.descriptors() ?? [],
      }),
    );
    // Nobody may be waiting for the end yet.
    this.#ended.promise.catch(() => {});
  }

  /** Builds the machine and starts what its configuration says. */
  static async create(
    config: VirtualMachineConfig,
    loop: EventLoop,
    role: MonitorRole,
    timeline: Timeline,
  ): Promise<VirtualMachine> {
    using undo = new DisposableStack();
    const vm = undo.use(new VirtualMachine(config, loop, timeline));
    await vm.#start(role);
    undo.move();
    return vm;
  }

  /**
   * Builds the guest that `handover` is for, to take care of it while its monitor executes a successor
   * (migration/cpr/interim/protocol.ts): there are no monitors, and character devices are stand-ins.
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
    vm.#role = "interim";
    vm.#receive(descriptors);
    await vm.#createChardevs(chardevs);
    await vm.#warmUpArrival(await vm.#buildGuest(true));
    // Whoever stays with the guest loads nothing then: the files may be the new program's.
    await vm.#loadTheRest();
    vm.#opened.resolve();
    undo.move();
    return vm;
  }

  /** An interim monitor whose guest nobody took goes on as its monitor: the stand-ins become real. */
  async keepGuest(): Promise<void> {
    this.#role = "monitor";
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
    return this.#built?.guest;
  }

  /** The guest's board. Throws while there is no guest. */
  get board(): Board {
    if (this.#built === undefined) throw new Error("The guest has not arrived yet");
    return this.#built.guest.board;
  }

  /** It is built when a source hands over what it is built from. */
  get awaitsGuest(): boolean {
    return this.#built === undefined;
  }

  /** Resolves when everything that the configuration names has been opened. */
  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  /** Resolves when the start is over; rejects if it failed. A guest that comes from a source is not awaited. */
  async started(): Promise<void> {
    if (!await this.migration.loadedFromFile()) await this.ended;
  }

  /** Resolves with the reason when the machine has ended; rejects if it could not be loaded. */
  get ended(): Promise<ShutdownReason> {
    return this.#ended.promise;
  }

  /** Ends the machine, after what is under way. */
  end(reason: ShutdownReason): void {
    if (this.#built !== undefined) {
      this.board.machine.requestShutdown(reason);
      return;
    }
    this.events.emit({ name: "SHUTDOWN", data: { guest: false, reason } });
    this.#ended.resolve(reason);
  }

  async #start(role: MonitorRole): Promise<void> {
    const { config, monitors } = this;
    const inherited = role.kind === "successor" ? role.inherited : undefined;
    // A successor has its predecessor's sets where whoever starts it gives it none.
    const succeeds = inherited !== undefined || config.incoming?.cpr !== undefined;
    for (const { fd, set, opaque } of config.inheritedDescriptors) {
      if (!succeeds || isInherited(fd)) this.descriptors.addInherited(fd, set, opaque);
    }
    if (inherited !== undefined) {
      this.#receive(inherited);
      this.#expectWaitingGuest(role.kind === "successor" ? role.interimMonitor : undefined);
      if (this.#arrival?.waiting === undefined) await this.#expectStandby();
    }
    if (config.incoming?.cpr !== undefined && inherited === undefined) {
      await this.#awaitHandover(config.incoming.cpr);
      return;
    }
    await this.#createChardevs(config.chardevs);
    const guest = await this.#buildGuest(config.incoming !== undefined || inherited !== undefined);
    this.#addMonitors(config.monitors);
    this.#serveQtest();
    this.chardevs.start();
    // An execve has left nobody else who uses what survives.
    if (config.incoming?.main.kind === "defer") this.#update.arrive();
    // The guest waits for nobody who asks for a command table.
    if (this.#update.takesOver) monitors.hold();
    await this.#startGuest(guest);
    this.#opened.resolve();
    if (!this.#update.takesOver) this.#loadInBackground();
  }

  /** Loads what nobody has needed so far: the C library's functions, monitors' commands, live updates. */
  async #loadTheRest(): Promise<void> {
    await bindTheRest();
    await this.monitors.preload();
    await loadWarmUp();
    // Not once more when a guest has arrived: it would wait for that.
    if (!this.#restLoaded) collectGarbage("major");
    this.#restLoaded = true;
  }

  /** The same where nobody waits for it. What cannot be loaded now is loaded when it is needed. */
  #loadInBackground(): void {
    this.#loadTheRest().catch(reportFault);
  }

  /** Takes over what another process hands over. */
  #receive(descriptors: InheritedDescriptors): void {
    this.#arrival?.[Symbol.dispose]();
    const flag = descriptors.take(OWNERSHIP_NAME);
    this.#arrival = new Arrival(flag && Ownership.adopt(flag));
    this.#update.receive(descriptors);
  }

  /**
   * Finds the guest that waits with an interim monitor, if there is one. Nothing was created yet: a successor
   * that comes too late must not put itself in the place of the sockets that are the guest's again.
   */
  #expectWaitingGuest(interimMonitor: number | undefined): void {
    const waiting = takeWaitingGuest((name) => this.#update.adopt(name), interimMonitor);
    if (waiting === undefined) return;
    this.#arrival?.expect(waiting);
    if (this.#arrival?.ownership?.decision === "kept") {
      throw new Error("too late for the guest: it has stayed with the process that it waited in");
    }
  }

  /** Answers for the guest whose state is in the file that is to be loaded, if it is on standby. */
  async #expectStandby(): Promise<void> {
    const answered = await answerStandby(
      (name) => this.#update.adopt(name),
      wholeFile(this.config.incoming),
    );
    if (answered === undefined) return;
    this.#arrival?.[Symbol.dispose]();
    this.#arrival = new Arrival(answered.ownership);
    this.#arrival.expect(answered.waiting);
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
    this.#built = new BuiltGuest(guest);
    void guest.board.machine.ended.then((reason) => this.#ended.resolve(reason));
    return guest;
  }

  /** Serves -qtest, if it was given, for as long as there is this guest. */
  #serveQtest(): void {
    const built = this.#built;
    if (built === undefined || this.config.qtest === undefined) return;
    const { chardev, log } = this.config.qtest;
    const target = boardTarget(built.guest.board, built.guest.accelerator);
    const port = this.chardevs.port(chardev);
    built.addClient(serveQtest(this.#chardevEnvironment, port, log, target));
  }

  async #startGuest(guest: Guest): Promise<void> {
    const { machine } = guest.board;
    const { incoming, startPaused } = this.config;
    const waiting = this.#arrival?.waiting;
    if (waiting) {
      await this.#warmUpArrival(guest);
      // Whatever takes this thread's time is done while the guest runs there.
      await this.#loadTheRest();
      try {
        await waiting.call();
        await this.migration.receive(waiting.channel);
      } catch (error) {
        if (!waiting.keepToFile()) throw await waiting.failure(error);
        this.#arrival?.[Symbol.dispose]();
        this.#arrival = undefined;
        return await this.#load(incoming);
      }
      reportFaults(() => waiting.arrived());
      // Clients have been notified.
      if (waiting.has("SHUTDOWN") && this.config.actions.shutdown === "poweroff") {
        this.#ended.resolve("guest-shutdown");
      }
      this.#arrival?.[Symbol.dispose]();
      this.#arrival = undefined;
    } else if (incoming === undefined) {
      machine.resetDevices();
      if (!startPaused) machine.start();
    } else {
      await this.#load(incoming);
    }
  }

  /** The guest comes from where -incoming says, if it says so now. */
  async #load(incoming: IncomingConfig | undefined): Promise<void> {
    if (incoming === undefined || incoming.main.kind === "defer") return;
    await this.#listen(incoming.main);
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
  async #awaitHandover(cpr: MigrationAddress): Promise<void> {
    const main = this.config.incoming?.main;
    const destination = this.#resources.use(
      await HandoverDestination.listen(
        {
          migration: this.migration,
          descriptors: this.descriptors,
          createChardevs: (chardevs) => this.#createChardevs(chardevs),
          addMonitors: (monitors) => this.#addMonitors(monitors),
          create: async ({ chardevs, monitors }, descriptors) => {
            this.#receive(descriptors);
            await this.#createChardevs(chardevs);
            await this.#warmUpArrival(await this.#buildGuest(true));
            this.#addMonitors(monitors);
            this.#serveQtest();
          },
          discard: (parts) => this.#discardGuest(parts),
        },
        this.config,
        cpr,
        main === undefined || main.kind === "defer" ? undefined : mainAddress(main),
      ),
    );
    this.chardevs.start();
    this.#loadInBackground();
    destination.run().then(
      (arrived) => arrived && this.#opened.resolve(),
      (error) => this.#ended.reject(error),
    );
  }

  /** A guest comes soon by live update, and its time is short. */
  async #warmUpArrival(guest: Guest): Promise<void> {
    const { warmUpArrival } = await loadWarmUp();
    using discarded = new EventHub(this.#loop);
    await warmUpArrival(guest.source, discarded);
  }

  #discardGuest({ chardevs, monitors }: MachineParts): void {
    this.#built?.[Symbol.dispose]();
    this.#built = undefined;
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
          return vm.guest?.source;
        },
        get blockers() {
          return vm.guest?.blockers;
        },
        get handedOver() {
          const names = vm.#update.adopted;
          return names && { names, ownership: vm.#arrival?.ownership };
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
    this.#arrival?.settle();
    using undo = new DisposableStack();
    undo.defer(() => this.events.release());
    undo.defer(() => this.monitors.serve());
    this.#update.arrive();
    this.events.replay(this.#arrival?.waiting?.events() ?? []);
    if (this.#update.adopted !== undefined && this.#role === "monitor") {
      this.events.emit({ name: "x-MONITOR_REPLACED", data: updateInformation(this.timeline) });
    }
    if (this.#role === "monitor") {
      const { running } = this.board.machine;
      const parameters = announceParameters(this.migration.parameters);
      this.guest?.announcements.guestArrived(parameters, running);
    }
    // Loading takes long: whatever was to happen at once comes first.
    setTimeout(() => {
      reportFaults(() => launch.arrived());
      if (this.#role === "monitor") this.#loadInBackground();
    });
  }

  [Symbol.dispose](): void {
    this.#built?.[Symbol.dispose]();
    this.#arrival?.[Symbol.dispose]();
    this.#resources[Symbol.dispose]();
  }
}

/** Where -incoming says that the machine's state comes from. */
function mainAddress(main: Exclude<IncomingConfig["main"], { kind: "defer" }>) {
  return main.kind === "uri" ? parseUri(main.uri) : channelAddress(main.address);
}

/** The path of the file that -incoming names, if it is a whole one; `undefined` if it names anything else. */
function wholeFile(incoming: IncomingConfig | undefined): string | undefined {
  if (incoming === undefined || incoming.main.kind === "defer") return undefined;
  let address;
  try {
    address = mainAddress(incoming.main);
  } catch {
    // What is wrong with it is said where it is used.
    return undefined;
  }
  return address.kind === "file" && address.offset === 0 && !namesSet(address.path)
    ? address.path
    : undefined;
}

/** What another process has handed over for its guest to come here. */
class Arrival implements Disposable {
  #ownership: Ownership | undefined;
  #waiting: WaitingGuest | undefined;

  constructor(ownership: Ownership | undefined) {
    this.#ownership = ownership;
  }

  /** Which of the two processes has the guest, until it is settled. */
  get ownership(): Ownership | undefined {
    return this.#ownership;
  }

  /** The guest is with an interim monitor and comes when it is called. */
  get waiting(): WaitingGuest | undefined {
    return this.#waiting;
  }

  expect(waiting: WaitingGuest): void {
    this.#waiting = waiting;
  }

  /** The guest runs here. */
  settle(): void {
    this.#ownership?.[Symbol.dispose]();
    this.#ownership = undefined;
  }

  [Symbol.dispose](): void {
    this.settle();
    this.#waiting?.[Symbol.dispose]();
    this.#waiting = undefined;
  }
}

/** A guest, and who uses its board directly. */
class BuiltGuest implements Disposable {
  readonly guest: Guest;
  readonly #resources = new DisposableStack();

  constructor(guest: Guest) {
    this.guest = this.#resources.use(guest);
  }

  /** Ends `client` before the guest. */
  addClient(client: Disposable): void {
    this.#resources.use(client);
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}

function usesDirtyRing({ accelerators }: VirtualMachineConfig): boolean {
  return accelerators.some((accelerator) =>
    accelerator.kind === "kvm" && accelerator.dirtyRingSize > 0
  );
}
