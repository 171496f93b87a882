/**
 * How a live update hands on what belongs to the guest beside the machine: character devices with
 * `cpr=on`, the sessions of monitors on them, and descriptors that their clients gave.
 *
 *   source    cpr-transfer: announce() -> suspend() -> commit(), or rollback()
 *             cpr-exec:     suspend() -> collect() -> execve, or rollback(); with an interim monitor, who gets
 *                           forInterimMonitor() and then the guest, before all that
 *   arriving  receive() -> parts are created, which adopt() -> the guest is here -> arrive()
 */
import type { Chardevs } from "./backends/chardevs.ts";
import type { DescriptorStore } from "./backends/descriptor_store.ts";
import type { InheritedDescriptors, KeptDescriptor } from "./migration/cpr/descriptors.ts";
import { HandoverRegistry } from "./migration/cpr/handover_registry.ts";
import type { UpdateHandover } from "./migration/dependencies.ts";
import { processId } from "./native/process.ts";
import { launch } from "./process/launch.ts";
import type { Timeline } from "./migration/cpr/timeline.ts";
import type { Monitors } from "./monitor/monitors.ts";

/** The registry's entry of descriptors that the process was given. */
const DESCRIPTORS = "descriptors";

/** What belongs to the guest beside the machine. */
export interface GuestDependencies {
  readonly chardevs: Chardevs;
  readonly monitors: Monitors;
  readonly descriptors: DescriptorStore;
  readonly timeline: Timeline;
  /** What the guest itself keeps open. */
  readonly guestDescriptors: () => readonly KeptDescriptor[];
}

/** A process's part in live updates: the one it came from, and the one it goes through. */
export class LiveUpdate implements UpdateHandover, Disposable {
  readonly #dependencies: GuestDependencies;
  readonly #registry = new HandoverRegistry();
  /** Everything ends with this process's image, not only what survives. */
  #wholly = false;

  constructor(dependencies: GuestDependencies) {
    this.#dependencies = dependencies;
    const { chardevs, monitors, descriptors, timeline, guestDescriptors } = dependencies;
    const registry = this.#registry;
    registry.add({ name: "guest", descriptors: guestDescriptors });
    registry.add({
      name: "timeline",
      descriptors: () => [],
      save: () => timeline.generation,
      restore: (generation) => timeline.follow(generation),
    });
    // A daemon's successor in the same process is a daemon.
    registry.add({
      name: "daemon",
      descriptors: () => [],
      save: () => launch.leftFolder ? processId() : undefined,
      restore: (pid) => pid === processId() && launch.leaveFolder(),
    });
    // Sessions are restored before their connections are there.
    registry.add({
      name: "monitors",
      descriptors: () => monitors.descriptors(),
      save: () => monitors.save(),
      restore: (saved) => monitors.restore(saved, (name, id) => registry.adopt(name, id)),
    });
    registry.add({
      name: "chardevs",
      descriptors: () => chardevs.descriptors(),
      save: () => chardevs.save(),
      restore: (saved) => chardevs.restore(saved),
      begin: () => {
        chardevs.begin();
        monitors.begin();
      },
    });
    // The command line may name sets. Clients that have to connect again expect nothing of the rest that they
    // gave: it is closed, as in QEMU.
    registry.add({
      name: DESCRIPTORS,
      descriptors: () => descriptors.descriptors({ named: monitors.survive }),
      save: () => descriptors.save({ named: monitors.survive }),
    });
  }

  /** The guest is still another process's. */
  get takesOver(): boolean {
    return this.#registry.takesOver;
  }

  /** The names of what was adopted; `undefined` unless this process takes, or took, over from another. */
  get adopted(): ReadonlySet<string> | undefined {
    return this.#registry.adopted;
  }

  /** Takes ownership of what a predecessor hands over. */
  receive(inherited: InheritedDescriptors): void {
    const registry = this.#registry;
    registry.receive(inherited);
    // Images may be named by what a set holds.
    this.#dependencies.descriptors.restore(
      registry.saved(DESCRIPTORS),
      (name, id) => registry.adopt(name, id),
    );
  }

  /** The descriptor that a predecessor left under (name, id), now the caller's. */
  adopt(name: string, id = 0) {
    return this.#registry.adopt(name, id);
  }

  /** The guest is this process's: everything that was adopted is used from now on. */
  arrive(): void {
    this.#registry.begin();
  }

  /** The predecessor keeps its guest: closes what nobody adopted. Who has adopted something closes it. */
  discard(): void {
    this.#registry.discard();
  }

  forInterimMonitor(): KeptDescriptor[] {
    const { chardevs, descriptors, guestDescriptors } = this.#dependencies;
    return [
      ...guestDescriptors(),
      ...chardevs.interimDescriptors(),
      ...descriptors.descriptors({ named: false }),
      this.#registry.excerpt({ [DESCRIPTORS]: descriptors.save({ named: false }) }),
    ];
  }

  announce(): KeptDescriptor[] {
    this.#dependencies.chardevs.holdClients();
    return this.#registry.announce();
  }

  async suspend(wholly: boolean): Promise<void> {
    const { chardevs, monitors } = this.#dependencies;
    this.#wholly = wholly;
    await monitors.suspend(wholly);
    chardevs.suspend();
    if (!wholly) this.#registry.complete();
  }

  collect(): KeptDescriptor[] {
    const { chardevs } = this.#dependencies;
    chardevs.releaseTerminal();
    return [...this.#registry.collect(), ...chardevs.numberedDescriptors()];
  }

  rollback(): void {
    const { chardevs, monitors } = this.#dependencies;
    if (this.#wholly) chardevs.takeTerminal();
    this.#wholly = false;
    this.#registry.rollback();
    chardevs.resume();
    monitors.resume();
  }

  commit(): void {
    const { chardevs, monitors } = this.#dependencies;
    chardevs.giveAway();
    monitors.resume();
  }

  [Symbol.dispose](): void {
    this.#registry[Symbol.dispose]();
  }
}
