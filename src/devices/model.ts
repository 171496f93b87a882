/**
 * What a device model says of itself, once: what it is called, what it needs, where it stands among the
 * others in resets and in streams. A board names models and says where their devices stand; the machine
 * creates devices by this alone, at its start and later.
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import type {
  InterruptLine,
  RegisterSpace,
  Resettable,
  RunStateListener,
  VirtualClock,
} from "./device.ts";
import type { MessageVectors } from "./message.ts";

/**
 * Where a device's sections stand in the stream: of one rank they follow in the order in which devices were
 * created. QEMU's migration priorities, as far as they show in its streams: local APICs come first, then
 * bridges, then the rest.
 */
export const sectionRanks = ["apic", "bridge", "device"] as const;
export type SectionRank = typeof sectionRanks[number];

/**
 * When a device is reset: interrupt controllers first, so that the lines which devices set count; then
 * devices; then processors; at last what starts the boot processor.
 */
export const resetRanks = ["controller", "device", "processor", "start"] as const;
export type ResetRank = typeof resetRanks[number];

/** What devices get from the machine they are in. */
export interface DeviceHost {
  readonly clock: VirtualClock;
  readonly ports: RegisterSpace;
  /** The guest's physical memory, as far as it is registers. */
  readonly memory: RegisterSpace;
  readonly ram: GuestMemory;
  /**
   * A new input of global system interrupt `gsi`, which is high while one of its inputs is: devices share
   * level-triggered ones.
   */
  line(gsi: number): InterruptLine;
  readonly vectors: MessageVectors;
  /**
   * Changes what the guest sees of its memory (GuestMemory.remap): before the processor whose access is being
   * served goes on, while no other runs.
   */
  changeMemory(change: () => void): void;
  /** Sends a message-signalled interrupt at once. */
  signalMessage(message: { readonly address: number; readonly data: number }): void;
  /** Powers the machine off, as the guest asked. */
  powerOff(): void;
  /** Resets the machine, as the guest asked, when the access that is being served has ended. */
  reset(): void;
  /** Takes faults of a part of the machine, such as `the serial port`, which stop the guest. */
  faulted(part: string, fault: unknown): void;
  /** Takes messages for the user. */
  report(message: string): void;
}

/** The guest's requests that a device may go on with for a while after it was stopped. */
export interface RequestSource {
  /** It takes no requests any more, until it is reset or started. */
  stopQueues(): void;
  /** Whose requests are under way although it was stopped, for messages; `undefined`: nobody's. */
  readonly requestsUnderWay: string | undefined;
}

/** A device as its machine sees it. It has what it has of all this. */
export interface MachineDevice {
  /** What streams have of it, in their order. */
  readonly sections?: readonly SavedDevice[];
  readonly resettable?: Resettable;
  /** A device that works on its own. */
  readonly listener?: RunStateListener;
  /** What counts time: the guest sees it, and nobody else. It stops before listeners do. */
  readonly timekeeper?: RunStateListener;
  readonly requests?: RequestSource;
  /** The user presses the power button. */
  powerButton?(): void;
  /** The guest ended the interrupt of a vector, as an I/O APIC in user space wants to know. */
  endOfInterrupt?(vector: number): void;
}

/** What a model's `create` returns: the device, and what the machine is to do with it. */
export interface CreatedDevice<Device> extends MachineDevice {
  readonly device: Device;
}

/** One model. `Settings` is what the board says of a device of it: addresses, interrupts, options. */
export interface DeviceModel<Settings, Device> {
  /** QEMU's name of the type. */
  readonly name: string;
  /** Absent: `device`. */
  readonly sectionRank?: SectionRank;
  /** Absent: `device`. */
  readonly resetRank?: ResetRank;
  /**
   * Creates a device, stopped and as after power-on, and puts its registers where `settings` says. `owner`
   * disposes what the device has open.
   */
  create(settings: Settings, host: DeviceHost, owner: DisposableStack): CreatedDevice<Device>;
}

/** Declares a model: the types of its settings and device follow from `create`. */
export function deviceModel<Settings, Device>(
  model: DeviceModel<Settings, Device>,
): DeviceModel<Settings, Device> {
  return model;
}

/** A device that is its own section and its own part in the reset, as most are. */
export function wholeDevice<Device extends SavedDevice & Resettable>(
  device: Device,
): CreatedDevice<Device> {
  return { device, sections: [device], resettable: device };
}
