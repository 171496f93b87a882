/** How a device takes part in saving and loading: its state is data, declared once. */
import type { StateDescription } from "./description.ts";

/**
 * One section of the migration stream. `idstr` and `instanceId` name it there; the description says
 * how its state looks. A device knows nothing of streams.
 */
export interface SavedDevice<State = unknown> {
  readonly idstr: string;
  readonly instanceId: number;
  readonly description: StateDescription<State>;
  /**
   * Which sources write the section; absent: all do, and a stream without it is not whole. Those of QEMU
   * write it that accelerate with KVM: a state of the section `idstr` shows whether they did.
   */
  readonly writtenBy?: {
    readonly idstr: string;
    readonly shows: (state: unknown) => boolean;
  };
  /**
   * Whether there is anything to write. Absent: always, and a stream without the section is not whole. QEMU
   * leaves some sections out until the guest has used their device; their numbers stay free.
   */
  present?(): boolean;
  /** A copy of the state. Called while the machine is stopped. */
  save(): State;
  /** Takes over a state that decoded completely. Throws, without having changed anything, if it cannot be. */
  load(state: State): void;
}
