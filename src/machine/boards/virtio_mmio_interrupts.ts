/**
 * Interrupts of virtio-mmio transports: inputs of KVM's interrupt controllers, and behind them those of the
 * second I/O APIC, which is in user space.
 */
import { type Ioapic, IOAPIC2_FIRST_GSI } from "../../devices/ioapic.ts";
import type { KvmVm } from "../../kvm/vm.ts";
import { DeviceInterrupt } from "../../native/device_interrupt.ts";

/** The interrupt of a transport: threads of the C library assert it. */
export function connectInterrupt(
  vm: KvmVm,
  ioapic2: Ioapic | undefined,
  gsi: number,
): DeviceInterrupt {
  if (gsi < IOAPIC2_FIRST_GSI) return new DeviceInterrupt(vm.fd, gsi);
  const interrupt = new DeviceInterrupt(vm.fd, undefined);
  ioapic2?.connect(gsi - IOAPIC2_FIRST_GSI, {
    get asserted() {
      return interrupt.status !== 0;
    },
    route: (message) => interrupt.route(message),
  });
  return interrupt;
}
