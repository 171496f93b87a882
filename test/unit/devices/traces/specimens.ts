/** The device models as the traces have them: at the microvm board's places, after power-on. */
import { Ioapic, IOAPIC2_ADDRESS } from "../../../../src/devices/ioapic.ts";
import { Rtc } from "../../../../src/devices/rtc.ts";
import { RTC_IRQ, RTC_PORT } from "../../../../src/devices/rtc_registers.ts";
import { Serial } from "../../../../src/devices/serial.ts";
import type { SavedDevice } from "../../../../src/vmstate/saved_device.ts";
import { migrate } from "../saved_state.ts";
import { ManualClock, MemoryBackend, RecordedLine } from "../dependencies.ts";
import type { Specimen } from "./replay.ts";

/** What the RTC's traces start with. */
export const RTC_START = Date.UTC(2001, 11, 31, 23, 59, 50) / 1000;

/** Where a device lies on the board. */
export interface Place {
  space: "port" | "memory";
  base: number;
  irq?: number;
}

export const places: Record<SpecimenName, Place> = {
  serial: { space: "port", base: 0x3f8, irq: 4 },
  rtc: { space: "port", base: RTC_PORT, irq: RTC_IRQ },
  ioapic: { space: "memory", base: IOAPIC2_ADDRESS },
};

export type SpecimenName = "serial" | "rtc" | "ioapic";

/** A device after power-on; its clock shows `now` ns. */
export function create(name: SpecimenName, now = 0n): Specimen & { device: SavedDevice } {
  const clock = new ManualClock(now);
  const irq = new RecordedLine();
  switch (name) {
    case "serial": {
      const backend = new MemoryBackend();
      const device = new Serial({ irq, clock, backend });
      device.runStateChanged(true);
      return { device, registers: device, clock, irq, backend };
    }
    case "rtc": {
      const device = new Rtc({ irq, clock, clockSurvivesMigration: true, startTime: RTC_START });
      return { device, registers: device, clock, irq };
    }
    case "ioapic": {
      const device = new Ioapic(1, () => {});
      return {
        device,
        registers: device,
        setPin: (pin, level) => device.line(pin).set(level),
      };
    }
  }
}

/** The same device in another process: its state moved through its encoding. */
export function moved(
  name: SpecimenName,
  from: ReturnType<typeof create>,
): ReturnType<typeof create> {
  const to = create(name, from.clock?.now());
  migrate(from.device, to.device);
  // The interrupt controller keeps the line's level; what was sent, and what waits to be received,
  // is with the backend.
  if (to.irq !== undefined && from.irq !== undefined) to.irq.level = from.irq.level;
  if (to.backend !== undefined && from.backend !== undefined) to.backend.takeOver(from.backend);
  return to;
}
