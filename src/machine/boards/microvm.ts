/**
 * The microvm board, laid out as QEMU 11.1's `-M microvm` with KVM:
 *
 *   RAM        from 0, split at 3 GiB; firmware below 1 MiB and below 4 GiB
 *   interrupts in-kernel PICs, I/O APIC (GSI 0-23), local APICs, PIT; with ACPI a second I/O APIC
 *              in user space at 0xfec10000 (GSI 24-47)
 *   devices    serial port 0x3f8 (IRQ 4), RTC 0x70 (IRQ 8), fw_cfg 0x510, generic event device
 *              0xfea00000 (IRQ 9), virtio-mmio transports from 0xfeb00000, 0x200 apart
 */
import type { CharacterPort } from "../../backends/character.ts";
import type { AcpiConfiguration } from "../../devices/acpi/tables.ts";
import { fwCfgModel } from "../../devices/fw_cfg_model.ts";
import { gedModel } from "../../devices/ged_model.ts";
import { IOAPIC2_ADDRESS, IOAPIC2_FIRST_GSI } from "../../devices/ioapic.ts";
import { ioapicModel } from "../../devices/ioapic_model.ts";
import { rtcModel, type RtcSettings } from "../../devices/rtc_model.ts";
import { serialModel } from "../../devices/serial_model.ts";
import { lowRamEnd } from "../../boot/memory_map.ts";
import { addAcpiFiles } from "../acpi_files.ts";
import type { BoardPlan, BoardStart, BuildingSite } from "../board.ts";
import type { SupportedCpuid } from "../cpus.ts";
import { addFirmwareItems, type FirmwareOptions } from "../firmware_items.ts";
import {
  firmwareKernel,
  loadStartUp,
  type StartUpMachine,
  type StartUpSource,
} from "../start_up.ts";
import { type VirtioSlot, virtioSlots } from "./virtio_mmio_slots.ts";
import {
  announceTransports,
  createTransports,
  type VirtioOptions,
} from "./virtio_mmio_transports.ts";

const SERIAL = { port: 0x3f8, irq: 4 } as const;

/** What the board is built from, besides what every board is. */
export interface MicrovmOptions {
  readonly cpus: number;
  readonly acpi: boolean;
  readonly pit: boolean;
  readonly pic: boolean;
  readonly rtc: boolean;
  readonly ioapic2: boolean;
  /** What the serial port is connected to; absent: there is no serial port. */
  readonly serial?: CharacterPort;
  /** Seconds since 1970 that the RTC starts with, and what it runs on. */
  readonly rtcStart: number;
  readonly rtcClock: RtcSettings["runsOn"];
  /** The 16 bytes of -uuid. */
  readonly uuid?: Uint8Array;
  readonly firmware: FirmwareOptions;
  /** What the guest starts from, at first and after each reset. */
  readonly source: StartUpSource;
  readonly virtio: VirtioOptions;
}

/** The board's plan. */
export function microvmPlan(options: MicrovmOptions): BoardPlan {
  return { pit: options.pit, populate: (site) => populate(options, site) };
}

function populate(options: MicrovmOptions, site: BuildingSite): BoardStart {
  const { devices, ram } = site;
  const ramSize = ram.main.usedLength;
  const fwCfg = devices.create(fwCfgModel, {});
  site.addProcessors();
  site.addKernelIoapic();
  const ioapic2 = options.ioapic2
    ? devices.create(ioapicModel, { address: IOAPIC2_ADDRESS, instanceId: 1 })
    : undefined;
  if (ioapic2) site.connectInputs(IOAPIC2_FIRST_GSI, (pin) => ioapic2.line(pin));
  site.addKvmClock();
  if (options.acpi) devices.create(gedModel, {});
  site.addPics(options.pic);
  site.addPit();
  if (options.rtc) {
    devices.create(rtcModel, {
      start: options.rtcStart,
      runsOn: options.rtcClock,
      lowRam: Math.min(ramSize, lowRamEnd),
      highRam: Math.max(0, ramSize - lowRamEnd),
    });
  }
  if (options.serial) devices.create(serialModel, { ...SERIAL, backend: options.serial });
  const { virtio } = options;
  const occupied = createTransports(virtio, virtioSlots(options), ioapic2, site);

  const acpi = options.acpi ? acpiConfiguration(options, occupied) : undefined;
  const source = !acpi && virtio.announceOnCommandLine
    ? announceTransports(options.source, occupied)
    : options.source;
  addFirmwareItems(
    fwCfg,
    {
      cpus: options.cpus,
      ramSize,
      ...(options.uuid ? { uuid: options.uuid } : {}),
      devices: deviceConfiguration(options, occupied),
    },
    options.firmware,
    firmwareKernel(source),
  );
  if (acpi) addAcpiFiles(fwCfg, acpi, ram, !site.incoming);
  const startUp = startUpMachine(options, acpi, site.cpuid);
  return { load: () => loadStartUp(source, startUp, ram) };
}

function startUpMachine(
  { cpus }: MicrovmOptions,
  acpi: AcpiConfiguration | undefined,
  cpuid: SupportedCpuid,
): StartUpMachine {
  const processor = cpuid.find((entry) => entry.function === 1);
  return { cpus, acpi, signature: processor?.eax ?? 0, features: processor?.edx ?? 0 };
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
    serial: options.serial ? SERIAL : undefined,
    rtc: options.rtc,
    secondIoapic: options.ioapic2
      ? { address: IOAPIC2_ADDRESS, firstGsi: IOAPIC2_FIRST_GSI }
      : undefined,
    virtioMmio,
  };
}
