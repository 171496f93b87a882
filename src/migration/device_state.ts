/** All devices' state: to the stream when the machine has stopped, and back from it. */
import { type GlobalState, globalState, globalStateOf } from "../devices/global_state.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import type { StateDescription } from "../vmstate/vmstate.ts";
import type { RunState } from "../machine/run_state.ts";
import { MigrationError } from "./errors.ts";
import type { MigratableMachine } from "./source.ts";
import type { StreamWriter } from "./stream/stream_writer.ts";

/** The `ram` section's number; devices count from the next one. */
export const RAM_SECTION_ID = 1;

const GLOBAL_STATE = "globalstate";

/**
 * Writes every device of a stopped machine. `runState` is what it was before it was stopped; without,
 * the destination takes it that the guest ran.
 */
export function saveDevices(
  writer: StreamWriter,
  source: MigratableMachine,
  runState: RunState | undefined,
): void {
  for (const _ of savingDevices(writer, source, runState));
}

/** As {@linkcode saveDevices}, for a caller who wants to do something after each device. */
export function* savingDevices(
  writer: StreamWriter,
  source: MigratableMachine,
  runState: RunState | undefined,
): Generator<void> {
  for (const [index, section] of source.sections.entries()) {
    saveDevice(writer, section, index);
    yield;
  }
  if (runState === undefined) return;
  writer.device({
    sectionId: RAM_SECTION_ID + 1 + source.sections.length,
    idstr: GLOBAL_STATE,
    instanceId: 0,
    description: globalState,
    state: globalStateOf(runState),
  });
}

/** Writes the device that is the `index`th of a machine, unless there is nothing to write of it. */
export function saveDevice(writer: StreamWriter, device: SavedDevice, index: number): void {
  if (device.present?.() === false) return;
  const { idstr, instanceId, description, save } = asSection(device);
  const sectionId = RAM_SECTION_ID + 1 + index;
  writer.device({ sectionId, idstr, instanceId, description, state: save() });
}

/** A section without what its state is: the stream's description and the device agree on that. */
interface AnySection {
  readonly idstr: string;
  readonly instanceId: number;
  readonly description: StateDescription<unknown>;
  readonly writtenBy: SavedDevice["writtenBy"];
  /** Streams may lack it. */
  readonly optional: boolean;
  save(): unknown;
  load(state: unknown): void;
}

function asSection(section: SavedDevice): AnySection {
  return {
    idstr: section.idstr,
    instanceId: section.instanceId,
    description: section.description as StateDescription<unknown>,
    writtenBy: section.writtenBy,
    optional: section.present !== undefined,
    save: () => section.save(),
    load: (state) => section.load(state as never),
  };
}

/**
 * Device states that were received. They are kept until the stream is known to be whole, or until those
 * of all devices before them have come.
 */
export class ReceivedDevices {
  readonly #sections: readonly AnySection[];
  readonly #states = new Map<AnySection, unknown>();
  #globalState: GlobalState | undefined;
  #early = false;
  /** Devices that have their state. */
  readonly #loaded = new Set<AnySection>();

  constructor(target: MigratableMachine) {
    this.#sections = target.sections.map(asSection);
  }

  /** How a section's state is to be decoded; `undefined` if the machine has no such device. */
  descriptionsOf(idstr: string, instanceId: number): StateDescription<unknown>[] | undefined {
    if (idstr === GLOBAL_STATE && instanceId === 0) return [globalState];
    const section = this.#find(idstr, instanceId);
    return section && [section.description];
  }

  /** Keeps a decoded state. One that comes twice replaces the first. */
  add(idstr: string, instanceId: number, state: unknown): void {
    if (idstr === GLOBAL_STATE) this.#globalState = state as GlobalState;
    const section = this.#find(idstr, instanceId);
    if (section) this.#states.set(section, state);
    if (this.#early) this.#loadWhatCame();
  }

  /**
   * From now on devices get their state as it comes, if only in the order in which they get it anyway:
   * the guest is paused already, and what can be done before the last state is here should be. When the
   * stream turns out not to be whole the machine is as after any other load that failed: it can be loaded
   * again, not started.
   */
  loadEarly(): void {
    this.#early = true;
    this.#loadWhatCame();
  }

  /** The source's run state before it was stopped; `running` if the stream does not say. */
  get runState(): string {
    return this.#globalState?.runstate ?? "running";
  }

  /** Gives every device its state. Throws, having touched none of the rest, if a device's is missing. */
  apply(): void {
    for (const section of this.#sections) {
      if (!this.#states.has(section) && this.#isWritten(section)) {
        throw new MigrationError(
          `the stream has no section '${section.idstr}' ${section.instanceId}, which this machine ` +
            "needs: configure both sides alike",
        );
      }
    }
    for (const section of this.#sections) {
      if (this.#states.has(section) && !this.#loaded.has(section)) this.#load(section);
    }
  }

  /** Whether this stream's source writes the section. */
  #isWritten({ writtenBy, optional }: AnySection): boolean {
    if (optional) return false;
    if (writtenBy === undefined) return true;
    return this.#states.entries().some(([{ idstr }, state]) =>
      idstr === writtenBy.idstr && writtenBy.shows(state)
    );
  }

  #loadWhatCame(): void {
    for (const section of this.#sections) {
      if (this.#loaded.has(section)) continue;
      if (this.#states.has(section)) this.#load(section);
      else if (!section.optional) return;
    }
  }

  #load(section: AnySection): void {
    this.#loaded.add(section);
    try {
      section.load(this.#states.get(section));
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new MigrationError(
        `error while loading state for instance 0x${section.instanceId.toString(16)} of device ` +
          `'${section.idstr}': ${reason}`,
        { cause },
      );
    }
  }

  #find(idstr: string, instanceId: number): AnySection | undefined {
    return this.#sections.find((s) => s.idstr === idstr && s.instanceId === instanceId);
  }
}
