/**
 * How what surrounds the guest gets over a live update: character devices with `cpr=on`, the sessions of
 * monitors on them, and descriptors that their clients gave.
 *
 *   leaving   cpr-transfer: announce() -> suspend() -> leave(), or stay()
 *             cpr-exec:     suspend() -> collect() -> execve, or stay(); with a caretaker, who gets
 *                           forCaretaker() and then the guest, before all that
 *   arriving  receive() -> parts are created, which adopt() -> the guest is here -> arrive()
 */
import type { Chardevs } from "./backends/chardevs.ts";
import type { DescriptorStore } from "./backends/descriptor_store.ts";
import type { InheritedDescriptors, KeptDescriptor } from "./migration/cpr/descriptors.ts";
import { Survivors } from "./migration/cpr/survivors.ts";
import type { Leaving } from "./migration/surroundings.ts";
import { processId } from "./native/process.ts";
import { launch } from "./process/launch.ts";
import type { Timeline } from "./migration/cpr/timeline.ts";
import type { Monitors } from "./monitor/monitors.ts";

/** What surrounds the guest. */
export interface GuestSurroundings {
  readonly chardevs: Chardevs;
  readonly monitors: Monitors;
  readonly descriptors: DescriptorStore;
  readonly timeline: Timeline;
  /** What the guest itself keeps open. */
  readonly guestDescriptors: () => readonly KeptDescriptor[];
}

/** A process's part in live updates: the one it came from, and the one it goes through. */
export class LiveUpdate implements Leaving, Disposable {
  readonly #surroundings: GuestSurroundings;
  readonly #survivors = new Survivors();
  /** Everything ends with this process's image, not only what survives. */
  #wholly = false;

  constructor(surroundings: GuestSurroundings) {
    this.#surroundings = surroundings;
    const { chardevs, monitors, descriptors, timeline, guestDescriptors } = surroundings;
    const survivors = this.#survivors;
    survivors.add({ name: "guest", descriptors: guestDescriptors });
    survivors.add({
      name: "timeline",
      descriptors: () => [],
      save: () => timeline.generation,
      restore: (generation) => timeline.follow(generation),
    });
    // A daemon's successor in the same process is a daemon.
    survivors.add({
      name: "daemon",
      descriptors: () => [],
      save: () => launch.leftFolder ? processId() : undefined,
      restore: (pid) => pid === processId() && launch.leaveFolder(),
    });
    // Sessions are told before their connections are there.
    survivors.add({
      name: "monitors",
      descriptors: () => monitors.descriptors(),
      save: () => monitors.save(),
      restore: (saved) => monitors.restore(saved, (name, id) => survivors.adopt(name, id)),
    });
    survivors.add({
      name: "chardevs",
      descriptors: () => chardevs.descriptors(),
      save: () => chardevs.save(),
      restore: (saved) => chardevs.restore(saved),
      begin: () => {
        chardevs.begin();
        monitors.begin();
      },
    });
    // Clients that have to connect again expect nothing of what they gave: it is closed, as in QEMU.
    survivors.add({
      name: "descriptors",
      descriptors: () => monitors.survive ? descriptors.descriptors() : [],
      save: () => monitors.survive ? descriptors.save() : undefined,
    });
  }

  /** The guest is still another process's. */
  get takesOver(): boolean {
    return this.#survivors.takesOver;
  }

  /** The names of what was adopted; `undefined` unless this process takes, or took, over from another. */
  get adopted(): ReadonlySet<string> | undefined {
    return this.#survivors.adopted;
  }

  /** Takes ownership of what a predecessor hands over. */
  receive(inherited: InheritedDescriptors): void {
    const survivors = this.#survivors;
    survivors.receive(inherited);
    // Images may be named by what a set holds.
    this.#surroundings.descriptors.restore(
      survivors.saved("descriptors"),
      (name, id) => survivors.adopt(name, id),
    );
  }

  /** The descriptor that a predecessor left under (name, id), now the caller's. */
  adopt(name: string, id = 0) {
    return this.#survivors.adopt(name, id);
  }

  /** The guest is this process's: everything that was adopted is used from now on. */
  arrive(): void {
    this.#survivors.begin();
  }

  /** The predecessor keeps its guest: closes what nobody adopted. Who has adopted something closes it. */
  discard(): void {
    this.#survivors.discard();
  }

  forCaretaker(): KeptDescriptor[] {
    const { chardevs, guestDescriptors } = this.#surroundings;
    return [...guestDescriptors(), ...chardevs.caretakerDescriptors()];
  }

  announce(): KeptDescriptor[] {
    this.#surroundings.chardevs.holdClients();
    return this.#survivors.announce();
  }

  async suspend(wholly: boolean): Promise<void> {
    const { chardevs, monitors } = this.#surroundings;
    this.#wholly = wholly;
    await monitors.suspend(wholly);
    chardevs.suspend();
    if (!wholly) this.#survivors.complete();
  }

  collect(): KeptDescriptor[] {
    const { chardevs } = this.#surroundings;
    chardevs.releaseTerminal();
    return [...this.#survivors.collect(), ...chardevs.numberedDescriptors()];
  }

  stay(): void {
    const { chardevs, monitors } = this.#surroundings;
    if (this.#wholly) chardevs.takeTerminal();
    this.#wholly = false;
    this.#survivors.stay();
    chardevs.resume();
    monitors.resume();
  }

  leave(): void {
    const { chardevs, monitors } = this.#surroundings;
    chardevs.giveAway();
    monitors.resume();
  }

  [Symbol.dispose](): void {
    this.#survivors[Symbol.dispose]();
  }
}
