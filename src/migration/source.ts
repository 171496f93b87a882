/** What a migration needs of the machine it moves. */
import type { DirtyTracker } from "../kvm/dirty_tracker.ts";
import type { Machine } from "../machine/machine.ts";
import type { VcpuThrottle } from "../machine/throttle.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import type { RamBlock } from "../memory/ram_block.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import type { CapabilitySet } from "./capabilities.ts";
import { streamCapabilities, type StreamConfiguration } from "./stream/configuration.ts";

/** The machine as migration sees it: RAM blocks, device sections and run control. */
export interface MigratableMachine {
  readonly machine: Machine;
  /** `microvm`: both sides must agree on it. */
  readonly machineType: string;
  /** 16 bytes, if the machine was given one. */
  readonly uuid: Uint8Array | undefined;
  /** All RAM blocks, in the order of the stream's list. */
  readonly blocks: readonly RamBlock[];
  readonly memory: GuestMemory;
  /** Records which pages the guest writes. */
  readonly dirtyTracker: DirtyTracker;
  /** Slows the guest down, until it is disposed. */
  readonly createThrottle: () => VcpuThrottle;
  /** All devices, in the order of the stream. */
  readonly sections: readonly SavedDevice[];
  /** -machine suppress-vmdesc=on: leave the description out of the stream. */
  readonly suppressDescription: boolean;
}

/** What a stream of this machine says of it. */
export function streamConfiguration(
  { machineType, uuid }: MigratableMachine,
  on: CapabilitySet,
): StreamConfiguration {
  return {
    machineType,
    capabilities: streamCapabilities.filter((name) => on.has(name)),
    ...(uuid !== undefined && on.has("validate-uuid") ? { uuid } : {}),
  };
}

/** Where the guest sees the beginning of a block, as x-ignore-shared gives it; 0 if nowhere. */
export function guestAddressOf(
  block: RamBlock,
  { memory }: Pick<MigratableMachine, "memory">,
): number {
  // Firmware appears twice: the address counts at which all of it does.
  return memory.regions.findLast((region) => region.block === block && region.blockOffset === 0)
    ?.address ?? 0;
}
