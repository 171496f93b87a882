/**
 * The virtio-mmio transports of the microvm board: where they are, which interrupts they have, and which
 * of them a device gets. Addresses and numbers are QEMU's.
 *
 *   no ACPI                      8 transports, interrupts 5 to 12 of the first I/O APIC
 *   ACPI, one I/O APIC           8 transports, interrupts 16 to 23
 *   ACPI, second I/O APIC        24 transports, interrupts 24 to 47, the second one's pins
 */
import { VIRTIO_MMIO_LENGTH } from "../../devices/virtio/mmio_registers.ts";

const FIRST_ADDRESS = 0xfeb00000;

/** One transport. `index` counts from the lowest address. */
export interface VirtioSlot {
  readonly index: number;
  readonly address: number;
  /** Bytes of registers. */
  readonly length: number;
  /** Global system interrupt. */
  readonly gsi: number;
}

/** All transports of a board. */
export function virtioSlots(board: { acpi: boolean; ioapic2: boolean }): VirtioSlot[] {
  const [count, firstGsi] = board.ioapic2 ? [24, 24] : board.acpi ? [8, 16] : [8, 5];
  return Array.from({ length: count }, (_, index) => ({
    index,
    address: FIRST_ADDRESS + index * VIRTIO_MMIO_LENGTH,
    length: VIRTIO_MMIO_LENGTH,
    gsi: firstGsi + index,
  }));
}

/**
 * The transport of each device: the one that `bus` names (`virtio-mmio-bus.N`), or the highest that is
 * still free when the device is created.
 */
export function assignSlots<Device extends { readonly bus?: string | undefined }>(
  slots: readonly VirtioSlot[],
  devices: readonly Device[],
): { readonly device: Device; readonly slot: VirtioSlot }[] {
  const free = new Map(slots.map((slot) => [slot.index, slot]));
  return devices.map((device) => {
    const named = device.bus?.match(/^virtio-mmio-bus\.([0-9]+)$/)?.[1];
    const slot = named === undefined ? [...free.values()].at(-1) : free.get(Number(named));
    if (slot === undefined) {
      throw new Error(
        named === undefined
          ? "all virtio-mmio transports have a device"
          : `Bus '${device.bus}' is full`,
      );
    }
    free.delete(slot.index);
    return { device, slot };
  });
}
