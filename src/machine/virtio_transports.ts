/**
 * The board's virtio-mmio transports: each with its device or empty, on the memory bus, with its
 * interrupt; and, without ACPI, on the kernel's command line.
 */
import type { Fd } from "../native/descriptor.ts";
import type { EventLoop } from "../native/event_loop.ts";
import type { VirtualClock } from "../devices/device.ts";
import type { Ioapic } from "../devices/ioapic.ts";
import { EmptyTransport } from "../devices/virtio/empty_transport.ts";
import type { NotifyAddress } from "../devices/virtio/host_notifiers.ts";
import { VirtioMmio } from "../devices/virtio/mmio.ts";
import { createDeviceMemory } from "../memory/device_memory.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import type { KvmVm } from "../kvm/vm.ts";
import { appendVirtioMmio } from "../boot/virtio_mmio_command_line.ts";
import type { Bus } from "./bus.ts";
import type { DeviceEvent } from "./device_events.ts";
import { connectInterrupt } from "./interrupts.ts";
import type { RunState } from "./run_state.ts";
import type { KernelSource, StartUpSource } from "./start_up.ts";
import type { TransportedConfig, VirtioDevices } from "./virtio_devices.ts";
import { assignSlots, type VirtioSlot } from "./virtio_slots.ts";

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

/** A transport with its device. */
export interface OccupiedSlot {
  readonly config: TransportedConfig;
  readonly slot: VirtioSlot;
  readonly transport: VirtioMmio<unknown>;
}

/** What transports are connected to. */
export interface TransportBoard {
  readonly vm: KvmVm;
  readonly ioapic2: Ioapic | undefined;
  readonly loop: EventLoop;
  readonly clock: VirtualClock;
  readonly ram: GuestMemory;
  /** Where the registers appear. */
  readonly bus: Bus;
  readonly emit: (event: DeviceEvent) => void;
  /** Stops the machine if it runs. */
  readonly stop: (state: RunState) => void;
  /** Takes faults of a device, which stop the machine. */
  readonly faulted: (device: string, fault: unknown) => void;
  /** The last requests that were under way in stopped queues of a device have ended. */
  readonly requestsEnded: () => void;
}

/** Creates the devices and puts all transports on the bus; `owner` gets them. */
export function createTransports(
  { devices, legacy, ioeventfd, report }: VirtioOptions,
  slots: readonly VirtioSlot[],
  { vm, ioapic2, loop, clock, ram, bus, emit, stop, faulted, requestsEnded }: TransportBoard,
  owner: DisposableStack,
): OccupiedSlot[] {
  const deviceMemory = createDeviceMemory(ram, owner);
  const assigned = assignSlots(slots, devices.configs);
  const board = { clock, deviceMemory, emit, stop, faulted };
  const router = {
    route: (write: NotifyAddress, fd: Fd, on: boolean) => vm.setIoEvent({ ...write, fd }, on),
  };
  for (const { index, address, length } of slots) {
    if (assigned.some(({ slot }) => slot.index === index)) continue;
    bus.map("virtio-mmio", address, length, new EmptyTransport(legacy));
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
        requestsEnded,
      }),
    );
    owner.use(interrupt.watch(loop, fail));
    bus.map("virtio-mmio", address, length, transport);
    return { config, slot, transport };
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
