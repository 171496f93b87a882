/**
 * The microvm board, laid out as QEMU 11.1's `-M microvm` with KVM:
 *
 *   RAM        from 0, split at 3 GiB; firmware below 1 MiB and below 4 GiB
 *   interrupts in-kernel PICs, I/O APIC (GSI 0-23), local APICs, PIT; with ACPI a second I/O APIC
 *              in user space at 0xfec10000 (GSI 24-47)
 *   devices    serial port 0x3f8 (IRQ 4), RTC 0x70 (IRQ 8), fw_cfg 0x510, generic event device
 *              0xfea00000 (IRQ 9), virtio-mmio transports from 0xfeb00000, 0x200 apart
 */
import { type EventLoop, monotonicTime, realTime } from "../native/event_loop.ts";
import type { CharacterPort } from "../backends/character.ts";
import { guardedPort } from "../backends/guarded_port.ts";
import type { InterruptLine, Resettable } from "../devices/device.ts";
import type { AcpiConfiguration } from "../devices/acpi/tables.ts";
import { setCmosMemorySize } from "../devices/cmos_memory_size.ts";
import {
  FW_CFG_DMA_PORT,
  FW_CFG_DMA_PORT_LENGTH,
  FW_CFG_PORT,
  FW_CFG_PORT_LENGTH,
  FwCfg,
} from "../devices/fw_cfg.ts";
import {
  GED_EVENT_ADDRESS,
  GED_EVENT_LENGTH,
  GED_IRQ,
  GED_REGISTERS_ADDRESS,
  GED_REGISTERS_LENGTH,
  GenericEventDevice,
} from "../devices/ged.ts";
import { HostClock } from "../devices/host_clock.ts";
import { Ioapic, IOAPIC2_ADDRESS, IOAPIC2_FIRST_GSI, IOAPIC_LENGTH } from "../devices/ioapic.ts";
import { Rtc } from "../devices/rtc.ts";
import { RTC_IRQ, RTC_PORT, RTC_PORT_LENGTH } from "../devices/rtc_registers.ts";
import { Serial } from "../devices/serial.ts";
import { CpuCommon } from "../kvm/cpu.ts";
import { DirtyLog } from "../kvm/dirty_log.ts";
import { DirtyRing } from "../kvm/dirty_ring.ts";
import type { DirtyTracker } from "../kvm/dirty_tracker.ts";
import { KernelIoapic, Pic } from "../kvm/irqchip.ts";
import { KvmClock } from "../kvm/kvmclock.ts";
import type { Kvm } from "../kvm/kvm.ts";
import { Pit } from "../kvm/pit.ts";
import { KvmVm } from "../kvm/vm.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import { lowRamEnd } from "../boot/memory_map.ts";
import { addAcpiFiles } from "./acpi_files.ts";
import { Bus } from "./bus.ts";
import { MachineClock } from "./clock.ts";
import { ClockSection } from "./clock_section.ts";
import { createCpus, createVcpus } from "./cpus.ts";
import type { DeviceEvent } from "./device_events.ts";
import { addFirmwareItems, type FirmwareOptions } from "./firmware_items.ts";
import { interruptLine } from "./interrupts.ts";
import { type EndPolicy, Machine, type MachineEvent } from "./machine.ts";
import { type MachineRam, MemorySlots } from "./ram.ts";
import {
  firmwareKernel,
  loadStartUp,
  type StartUpMachine,
  type StartUpSource,
} from "./start_up.ts";
import { VcpuThrottle } from "./throttle.ts";
import { TprOptimization } from "./tpr_opt.ts";
import { type VirtioSlot, virtioSlots } from "./virtio_slots.ts";
import {
  announceTransports,
  createTransports,
  type OccupiedSlot,
  type VirtioOptions,
} from "./virtio_transports.ts";

const SERIAL_PORT = 0x3f8;
const SERIAL_PORT_LENGTH = 8;
const SERIAL_IRQ = 4;

/** What the board is built from. */
export interface MicrovmOptions {
  readonly cpus: number;
  /** -cpu's flags. */
  readonly cpuFlags: ReadonlyMap<string, boolean>;
  readonly acpi: boolean;
  readonly pit: boolean;
  readonly pic: boolean;
  readonly rtc: boolean;
  readonly ioapic2: boolean;
  /** What the serial port is connected to; absent: there is no serial port. */
  readonly serial?: CharacterPort;
  /** Seconds since 1970 that the RTC starts with. */
  readonly rtcStart: number;
  /** What the RTC runs on: the host's time of day, its monotonic clock, or the virtual one. */
  readonly rtcClock: "host" | "rt" | "vm";
  /** The 16 bytes of -uuid. */
  readonly uuid?: Uint8Array;
  readonly firmware: FirmwareOptions;
  /** A test drives the board (-accel qtest): no vCPU runs, and the test turns the clock on. */
  readonly testDriven: boolean;
  /** What the guest starts from, at first and after each reset. */
  readonly source: StartUpSource;
  /** Entries of each vCPU's dirty ring; 0: the dirty log is used. */
  readonly dirtyRingSize: number;
  readonly virtio: VirtioOptions;
}

/** The built board: the machine, and what a migration saves of it. */
export class Microvm implements Disposable {
  readonly machine: Machine;
  readonly ram: MachineRam;
  readonly slots: MemorySlots;
  /** Says to a live migration what the guest writes. */
  readonly dirtyTracker: DirtyTracker;
  readonly vm: KvmVm;
  readonly kvm: Kvm;
  readonly fwCfg: FwCfg;
  readonly ports = new Bus("ones");
  readonly memory = new Bus("zeros");
  /** In the order of the command line. */
  readonly virtio: readonly OccupiedSlot[];
  /** Sections of the stream, in its order. */
  readonly sections: readonly SavedDevice<never>[];
  readonly #resources: DisposableStack;
  readonly #loop: EventLoop;

  /** Takes over `kvm` and `ram`. */
  constructor(
    loop: EventLoop,
    kvm: Kvm,
    ram: MachineRam,
    options: MicrovmOptions,
    policy: EndPolicy,
    runState: "prelaunch" | "inmigrate",
    emit: (event: MachineEvent | DeviceEvent) => void,
  ) {
    using undo = new DisposableStack();
    this.#loop = loop;
    this.kvm = undo.use(kvm);
    this.ram = undo.use(ram);
    this.vm = undo.use(new KvmVm(kvm));
    this.slots = new MemorySlots(this.vm, ram.memory);
    this.vm.createIrqchip();
    this.vm.setStandardRouting();
    if (options.pit) this.vm.createPit();

    const clock = undo.use(
      new MachineClock(
        loop,
        options.testDriven ? "test" : "host",
        (fault) => this.machine.fault("a device's timer", fault),
      ),
    );
    const rings = options.dirtyRingSize > 0 &&
      this.vm.enableDirtyRings(kvm, options.dirtyRingSize);
    const cpuid = kvm.supportedCpuid();
    const vcpus = createVcpus(kvm, this.vm, loop, cpuid, options, undo);
    this.dirtyTracker = rings
      ? undo.use(new DirtyRing(this.vm, vcpus, this.slots, options.dirtyRingSize))
      : new DirtyLog(kvm, this.vm, this.slots);
    const { cpus, apics } = createCpus(kvm, vcpus, cpuid, clock);

    const request = {
      powerOff: () => this.machine.requestShutdown("guest-shutdown"),
      reset: () => this.machine.requestReset("guest-reset"),
    };
    const ioapic2 = options.ioapic2
      ? new Ioapic(1, ({ address, data }) => this.vm.signalMsi(address, data))
      : undefined;
    const line = (gsi: number) => interruptLine(this.vm, ioapic2, gsi);
    const kernelIoapic = new KernelIoapic(this.vm);
    const pics = [new Pic(this.vm, 0), new Pic(this.vm, 1)];
    const pit = options.pit ? new Pit(this.vm, clock) : undefined;
    const kvmClock = new KvmClock(this.vm, vcpus);
    this.fwCfg = new FwCfg(ram.memory);
    const ged = options.acpi
      ? new GenericEventDevice({ irq: line(GED_IRQ), ...request })
      : undefined;
    const hostClock = options.rtc && options.rtcClock !== "vm"
      ? new HostClock(clock, options.rtcClock === "host" ? realTime : monotonicTime)
      : undefined;
    const rtc = options.rtc
      ? createRtc(options, ram, line(RTC_IRQ), hostClock ?? clock)
      : undefined;
    const serial = options.serial
      ? new Serial({
        irq: line(SERIAL_IRQ),
        clock,
        backend: guardedPort(
          options.serial,
          (fault) => this.machine.fault("the serial port", fault),
        ),
      })
      : undefined;

    const { virtio } = options;
    const slots = virtioSlots(options);
    this.virtio = createTransports(virtio, slots, {
      vm: this.vm,
      ioapic2,
      loop,
      clock,
      ram: ram.memory,
      bus: this.memory,
      emit,
      stop: (state) => {
        if (this.machine.running) this.machine.stop(state);
      },
      faulted: (device, fault) => this.machine.fault(device, fault),
      requestsEnded: () => this.machine.requestsEnded(),
    }, undo);

    this.ports.map("fwcfg", FW_CFG_PORT, FW_CFG_PORT_LENGTH, this.fwCfg.portRegion);
    this.ports.map("fwcfg.dma", FW_CFG_DMA_PORT, FW_CFG_DMA_PORT_LENGTH, this.fwCfg.dmaRegion);
    if (serial) this.ports.map("serial", SERIAL_PORT, SERIAL_PORT_LENGTH, serial);
    if (rtc) this.ports.map("rtc", RTC_PORT, RTC_PORT_LENGTH, rtc);
    if (ged) {
      this.memory.map("acpi-ged", GED_EVENT_ADDRESS, GED_EVENT_LENGTH, ged.eventRegion);
      this.memory.map(
        "acpi-ged-regs",
        GED_REGISTERS_ADDRESS,
        GED_REGISTERS_LENGTH,
        ged.registerRegion,
      );
    }
    if (ioapic2) this.memory.map("ioapic", IOAPIC2_ADDRESS, IOAPIC_LENGTH, ioapic2);

    for (const part of [...cpus, ...apics]) part.rememberPowerOn();
    const occupied = this.virtio.map(({ slot }) => slot);
    const acpi = options.acpi ? acpiConfiguration(options, occupied) : undefined;
    const source = !acpi && virtio.announceOnCommandLine
      ? announceTransports(options.source, occupied)
      : options.source;
    addFirmwareItems(
      this.fwCfg,
      {
        cpus: options.cpus,
        ramSize: ram.main.usedLength,
        ...(options.uuid ? { uuid: options.uuid } : {}),
        devices: deviceConfiguration(options, occupied),
      },
      options.firmware,
      firmwareKernel(source),
    );
    const processor = cpuid.find((entry) => entry.function === 1);
    const startUp: StartUpMachine = {
      cpus: options.cpus,
      acpi,
      signature: processor?.eax ?? 0,
      features: processor?.edx ?? 0,
    };
    if (acpi) addAcpiFiles(this.fwCfg, acpi, ram, runState === "prelaunch");
    const bootCpu: Resettable = {
      reset: () => cpus[0]?.start(loadStartUp(source, startUp, ram)),
    };
    const transports = this.virtio.map(({ transport }) => transport);
    const present = <Part>(parts: readonly (Part | undefined)[]) =>
      parts.filter((part) => part !== undefined);
    this.machine = new Machine(
      {
        loop,
        vcpus,
        execute: !options.testDriven,
        buses: { ports: this.ports, memory: this.memory },
        clock,
        timekeepers: present([kvmClock, pit, hostClock]),
        listeners: present([serial, ...transports]),
        resettables: [
          ...pics,
          kernelIoapic,
          ...[ioapic2, pit, this.fwCfg, ged, rtc, serial].filter((device) => device !== undefined),
          ...transports,
          ...apics,
          ...cpus,
          bootCpu,
        ],
        powerButton: () => ged?.powerButton(),
        endOfInterrupt: (vector) => ioapic2?.endOfInterrupt(vector),
        requests: {
          stop: () => transports.forEach((transport) => transport.stopQueues()),
          underWay: () => present(transports.map(({ requestsUnderWay }) => requestsUnderWay)),
        },
        collectDirtyRings: () => this.dirtyTracker.emptyRings(),
        runStateEntered: (state) => virtio.devices.runStateEntered(state),
      },
      policy,
      runState,
      emit,
    );
    const [bootCpuCommon, ...otherCpus] = cpus.flatMap((cpu) => [[new CpuCommon(cpu), cpu]]);
    this.sections = [
      ...apics,
      new ClockSection(clock),
      this.fwCfg,
      ...(bootCpuCommon ?? []),
      new TprOptimization(),
      ...otherCpus.flat(),
      kernelIoapic,
      ioapic2,
      kvmClock,
      ged,
      ...(options.pic ? pics : []),
      pit,
      rtc,
      serial,
      ...transports,
    ].filter((section) => section !== undefined) as unknown as SavedDevice<never>[];
    virtio.devices.runStateEntered(runState);
    this.#resources = undo.move();
  }

  /** Something that takes time away from the vCPUs until it is disposed. */
  createThrottle(): VcpuThrottle {
    return new VcpuThrottle(this.#loop, this.machine.vcpus);
  }

  /** Ends the vCPUs and frees everything. The machine must be stopped. */
  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}

function createRtc(
  options: MicrovmOptions,
  ram: MachineRam,
  irq: InterruptLine,
  clock: HostClock | MachineClock,
): Rtc {
  const rtc = new Rtc({
    irq,
    clock,
    clockSurvivesMigration: options.rtcClock !== "rt",
    startTime: options.rtcStart,
  });
  const size = ram.main.usedLength;
  setCmosMemorySize(rtc, Math.min(size, lowRamEnd), Math.max(0, size - lowRamEnd));
  return rtc;
}

function acpiConfiguration(
  options: MicrovmOptions,
  virtioMmio: readonly VirtioSlot[],
): AcpiConfiguration {
  return {
    cpus: options.cpus,
    maximumCpus: options.cpus,
    ...deviceConfiguration(options, virtioMmio),
  };
}

/** The devices that ACPI tables and the device tree describe. */
function deviceConfiguration(options: MicrovmOptions, virtioMmio: readonly VirtioSlot[]) {
  return {
    serial: options.serial ? { port: SERIAL_PORT, irq: SERIAL_IRQ } : undefined,
    rtc: options.rtc,
    secondIoapic: options.ioapic2
      ? { address: IOAPIC2_ADDRESS, firstGsi: IOAPIC2_FIRST_GSI }
      : undefined,
    virtioMmio,
  };
}
