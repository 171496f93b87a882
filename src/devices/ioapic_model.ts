/** A further I/O APIC, in user space, as a device of a board. */
import { Ioapic, IOAPIC_LENGTH } from "./ioapic.ts";
import { deviceModel } from "./model.ts";

export const ioapicModel = deviceModel({
  name: "ioapic",
  resetRank: "controller",
  create(
    { address, instanceId }: { readonly address: number; readonly instanceId: number },
    { memory, signalMessage },
  ) {
    const device = new Ioapic(instanceId, signalMessage);
    memory.map("ioapic", address, IOAPIC_LENGTH, device);
    return {
      device,
      sections: [device],
      resettable: device,
      endOfInterrupt: (vector) => device.endOfInterrupt(vector),
    };
  },
});
