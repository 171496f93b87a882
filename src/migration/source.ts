/** What a migration needs of the machine it moves. */
import type { Machine } from "../machine/machine.ts";
import type { MemorySlots } from "../machine/ram.ts";
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
  readonly slots: MemorySlots;
  /** All devices, in the order of the stream. */
  readonly sections: readonly SavedDevice<never>[];
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
