/** The generic event device as a device of a board: event register, power and reset registers, power button. */
import {
  GED_EVENT_ADDRESS,
  GED_EVENT_LENGTH,
  GED_IRQ,
  GED_REGISTERS_ADDRESS,
  GED_REGISTERS_LENGTH,
  GenericEventDevice,
} from "./ged.ts";
import { deviceModel } from "./model.ts";

export const gedModel = deviceModel({
  name: "acpi-ged",
  create(_settings: Record<never, never>, { line, memory, powerOff, reset }) {
    const device = new GenericEventDevice({ irq: line(GED_IRQ), powerOff, reset });
    memory.map("acpi-ged", GED_EVENT_ADDRESS, GED_EVENT_LENGTH, device.eventRegion);
    memory.map(
      "acpi-ged-regs",
      GED_REGISTERS_ADDRESS,
      GED_REGISTERS_LENGTH,
      device.registerRegion,
    );
    return {
      device,
      sections: [device],
      resettable: device,
      powerButton: () => device.powerButton(),
    };
  },
});
