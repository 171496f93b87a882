/**
 * The board's virtio-mmio transports: each with its device or empty, on the memory bus, with its
 * interrupt; and, without ACPI, on the kernel's command line.
 */
import type { Fd } from "../../native/descriptor.ts";
import type { Ioapic } from "../../devices/ioapic.ts";
import { EmptyTransport } from "../../devices/virtio/empty_transport.ts";
import type { NotifyAddress } from "../../devices/virtio/host_notifiers.ts";
import { VirtioMmio } from "../../devices/virtio/mmio.ts";
import { createDeviceMemory } from "../../memory/device_memory.ts";
import { appendVirtioMmio } from "../../boot/virtio_mmio_command_line.ts";
import type { BuildingSite } from "../board.ts";
import { connectInterrupt } from "./virtio_mmio_interrupts.ts";
import type { KernelSource, StartUpSource } from "../start_up.ts";
import type { VirtioDevices } from "../virtio_devices.ts";
import { assignSlots, type VirtioSlot } from "./virtio_mmio_slots.ts";

/** The virtio devices, and how their transports are. */
export interface VirtioOptions {
  readonly devices: VirtioDevices;
  readonly legacy: boolean;
  /** Queue notifications come without an exit to user space. */
  readonly ioeventfd: boolean;
  /** Without ACPI, the kernel's command line lists the transports. */
  readonly announceOnCommandLine: boolean;
  /** Takes messages for the user. */
  readonly report: (message: string) => void;
}

/** Creates the devices and puts all transports into the guest's memory. Returns the slots that have one. */
export function createTransports(
  { devices, legacy, ioeventfd, report }: VirtioOptions,
  slots: readonly VirtioSlot[],
  ioapic2: Ioapic | undefined,
  site: BuildingSite,
): VirtioSlot[] {
  const { vm, loop, clock, ram: { memory: ram }, host, owner } = site;
  const { faulted } = host;
  const deviceMemory = createDeviceMemory(ram, owner);
  const assigned = assignSlots(slots, devices.configs);
  const board = { clock, deviceMemory, emit: site.emit, stop: site.stop, faulted };
  const router = {
    route: (write: NotifyAddress, fd: Fd, on: boolean) => vm.setIoEvent({ ...write, fd }, on),
  };
  for (const { index, address, length } of slots) {
    if (assigned.some(({ slot }) => slot.index === index)) continue;
    host.memory.map("virtio-mmio", address, length, new EmptyTransport(legacy));
  }
  return assigned.map(({ device: config, slot }) => {
    const { address, length, gsi } = slot;
    const fail = (fault: unknown) =>
      faulted(`${config.driver} at 0x${address.toString(16)}`, fault);
    const interrupt = connectInterrupt(vm, ioapic2, gsi);
    interrupt.attach(address);
    const transport = owner.use(
      new VirtioMmio(devices.create(config, board), {
        address,
        legacy,
        memory: ram,
        deviceMemory,
        interrupt,
        loop,
        ...(ioeventfd ? { notifications: router } : {}),
        report,
        faulted: fail,
        requestsEnded: () => site.requestsEnded(),
      }),
    );
    owner.use(interrupt.watch(loop, fail));
    host.memory.map("virtio-mmio", address, length, transport);
    site.devices.add({
      sections: [transport],
      resettable: transport,
      listener: transport,
      requests: transport,
    });
    return slot;
  });
}

/** Where the guest starts from, its kernel informed of the transports. */
export function announceTransports(
  source: StartUpSource,
  slots: readonly VirtioSlot[],
): StartUpSource {
  const transports = slots.map(({ address, gsi }) => ({ address, irq: gsi }));
  const announce = <Source extends KernelSource>(kernel: Source): Source => ({
    ...kernel,
    commandLine: appendVirtioMmio(kernel.commandLine, transports),
  });
  if (source.kind === "kernel") return announce(source);
  if (source.kind !== "firmware" || source.kernel === undefined) return source;
  return { ...source, kernel: announce(source.kernel) };
}
