/**
 * The destination of a cpr-transfer: a machine that cannot be built before a source has handed over its
 * descriptors.
 *
 *   monitors answer -> a source hands over -> character devices, guest, late monitors are created
 *                   -> the source's stream  -> the guest runs here: done
 *                                           -> it fails, or the source gives up: what was created for it is
 *                                              discarded, and the next source may hand over
 */
import type { ChardevOptions } from "./configuration/chardev.ts";
import type { DescriptorStore } from "./backends/descriptor_store.ts";
import { type ChannelAddress, channelAddress } from "./channel/address.ts";
import type { MonitorConfig } from "./configuration/character.ts";
import type { MigrationAddress } from "./configuration/migration.ts";
import type { VirtualMachineConfig } from "./configuration/virtual_machine.ts";
import type { InheritedDescriptors } from "./migration/cpr/descriptors.ts";
import { type Handover, HandoverListener } from "./migration/cpr/transfer.ts";
import { messageOf } from "./migration/errors.ts";
import type { Migration } from "./migration/migration.ts";
import { ChannelCancelled } from "./native/channel.ts";

/** How long it rests after a source that could not hand over. */
const PAUSE_AFTER_FAILURE_MS = 100;

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Parts of a machine that are created together. */
export interface MachineParts {
  readonly chardevs: readonly ChardevOptions[];
  readonly monitors: readonly MonitorConfig[];
}

/** What the destination asks of its machine (virtual_machine.ts). */
export interface DestinationMachine {
  readonly migration: Migration;
  readonly descriptors: DescriptorStore;
  createChardevs(chardevs: readonly ChardevOptions[]): Promise<void>;
  addMonitors(monitors: readonly MonitorConfig[]): void;
  /** Creates the guest of a source that has handed over `descriptors`, and `parts` with it. */
  create(parts: MachineParts, descriptors: InheritedDescriptors): Promise<void>;
  /** Discards what create() made, whatever of it is there. */
  discard(parts: MachineParts): void;
}

/** Waits for sources until one's guest has arrived. */
export class HandoverDestination implements Disposable {
  readonly #machine: DestinationMachine;
  readonly #listener: HandoverListener;
  readonly #main: ChannelAddress | undefined;
  readonly #late: MachineParts;

  private constructor(
    machine: DestinationMachine,
    listener: HandoverListener,
    main: ChannelAddress | undefined,
    late: MachineParts,
  ) {
    this.#machine = machine;
    this.#listener = listener;
    this.#main = main;
    this.#late = late;
  }

  /** Has monitors answer and listens on `cpr`. `main` is the stream's channel, if it is known by now. */
  static async listen(
    machine: DestinationMachine,
    config: VirtualMachineConfig,
    cpr: MigrationAddress,
    main: ChannelAddress | undefined,
  ): Promise<HandoverDestination> {
    const { chardevs, monitors } = config;
    const early = earlyChardevs(config);
    await machine.createChardevs(chardevs.filter(({ id }) => early.has(id)));
    const listener = await HandoverListener.listen(channelAddress(cpr), machine.descriptors);
    machine.migration.awaitHandover(listener.addresses);
    machine.addMonitors(monitors.filter(({ chardev }) => early.has(chardev)));
    return new HandoverDestination(machine, listener, main, {
      chardevs: chardevs.filter(({ id }) => !early.has(id)),
      monitors: monitors.filter(({ chardev }) => !early.has(chardev)),
    });
  }

  /** Takes over what sources hand over. Resolves with whether a guest has arrived, when that is known. */
  async run(): Promise<boolean> {
    const { migration } = this.#machine;
    const limit = () => migration.parameters["x-handover-timeout"];
    let failure: string | undefined;
    for (;;) {
      migration.awaitHandover(this.#listener.addresses, failure);
      // Without a free descriptor the next connection fails at once, and the one after it.
      if (failure !== undefined) await pause(PAUSE_AFTER_FAILURE_MS);
      try {
        using handover = await this.#listener.accept(limit);
        if (await this.#takeOver(handover)) break;
        failure = undefined;
      } catch (error) {
        if (error instanceof ChannelCancelled) return false;
        failure = messageOf(error);
      }
    }
    this[Symbol.dispose]();
    return true;
  }

  /** Creates the guest and waits for its state; false if the source gives up before. */
  async #takeOver(handover: Handover): Promise<boolean> {
    const { migration } = this.#machine;
    using undo = new DisposableStack();
    undo.defer(() => this.#machine.discard(this.#late));
    await this.#machine.create(this.#late, handover.descriptors);
    if (this.#main !== undefined) await migration.listen(this.#main, false);
    const gone = handover.sourceGone().then(() => undefined, () => undefined);
    const incoming = await Promise.race([migration.listening(), gone]);
    handover.taken();
    if (incoming === undefined) return false;
    // A source that tries again connects here first.
    this.#listener.pending().then(() => incoming.abandon("the source tries again"), () => {});
    const died = "the source's process has ended before it sent the guest's state";
    handover.process?.readable().then(() => incoming.abandon(died), () => {});
    if (!await incoming.finished) return false;
    undo.move();
    return true;
  }

  [Symbol.dispose](): void {
    this.#listener[Symbol.dispose]();
  }
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
