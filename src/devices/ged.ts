/**
 * The ACPI generic event device of a hardware-reduced machine (ACPI specification 5.6.9 and 4.8.3.7),
 * at the addresses that the DSDT and FADT name.
 *
 * An event: the device sets the event's bit and pulses its interrupt; the guest's ACPI interpreter
 * runs _EVT, which reads the event register (reading clears it) and notifies the device concerned.
 */
import {
  type AccessSize,
  type InterruptLine,
  type RegisterRegion,
  type Resettable,
} from "./device.ts";
import { type GedState, gedState } from "./ged_state.ts";
import { writeBytes } from "./split_access.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";

/** Where the device lies in guest memory, and its interrupt. */
export const GED_EVENT_ADDRESS = 0xfea00000;
export const GED_EVENT_LENGTH = 4;
export const GED_REGISTERS_ADDRESS = 0xfea00200;
export const GED_REGISTERS_LENGTH = 3;
export const GED_IRQ = 9;

/** Bits of the event register. */
export const GedEvent = {
  powerButton: 1 << 1,
} as const;

/** Offsets of the registers that the FADT names. */
export const GedRegister = {
  sleepControl: 0,
  sleepStatus: 1,
  reset: 2,
} as const;

/** Written to the reset register it resets the machine. */
export const GED_RESET_VALUE = 0x42;
/** SLP_TYPx of S5 in sleep control, as the DSDT's \_S5 says. */
export const GED_SLEEP_TYPE_S5 = 5;
const SLEEP_ENABLE = 0x20;
const SLEEP_TYPE_SHIFT = 2;
const SLEEP_TYPE_MASK = 7;

/** What the device depends on. */
export interface GedDependencies {
  irq: InterruptLine;
  /** The guest entered S5. */
  powerOff: () => void;
  /** The guest wrote the reset register. */
  reset: () => void;
}

/** The device: its two register blocks, and the user's power button. */
export class GenericEventDevice implements SavedDevice<GedState>, Resettable {
  readonly idstr = "acpi-ged";
  readonly instanceId = 0;
  readonly description = gedState;
  /** The event register: four bytes, read as one. */
  readonly eventRegion: RegisterRegion;
  /** Sleep control, sleep status and reset. */
  readonly registerRegion: RegisterRegion;
  readonly #dependencies: GedDependencies;
  #pending = 0;

  constructor(dependencies: GedDependencies) {
    this.#dependencies = dependencies;
    this.eventRegion = {
      read: (offset, size) => offset === 0 && size === 4 ? this.#takeEvents() : 0,
      write: () => {},
    };
    this.registerRegion = {
      read: () => 0,
      write: (offset, size, value) => this.#writeRegister(offset, size, value),
    };
  }

  /** The user pressed the power button: the guest is asked to shut down. */
  powerButton(): void {
    this.#pending |= GedEvent.powerButton;
    this.#dependencies.irq.set(true);
    this.#dependencies.irq.set(false);
  }

  /** Pending events survive a reset, as on QEMU's device. */
  reset(): void {}

  save(): GedState {
    return {
      ged: { sel: this.#pending },
      // Part of the section, though this machine has no slots for memory.
      memoryHotplug: { selector: 0, devs: [] },
    };
  }

  load(state: GedState): void {
    this.#pending = state.ged.sel;
  }

  #takeEvents(): number {
    const events = this.#pending;
    this.#pending = 0;
    return events;
  }

  #writeRegister(offset: number, size: AccessSize, value: number): void {
    if (size !== 1) return writeBytes(this.registerRegion, offset, size, value);
    if (offset === GedRegister.sleepControl) {
      const type = (value >> SLEEP_TYPE_SHIFT) & SLEEP_TYPE_MASK;
      if ((value & SLEEP_ENABLE) !== 0 && type === GED_SLEEP_TYPE_S5) this.#dependencies.powerOff();
    } else if (offset === GedRegister.reset && value === GED_RESET_VALUE) {
      this.#dependencies.reset();
    }
  }
}
