/**
 * What the boot CPU starts with: firmware (-bios), a kernel (-kernel) loaded directly, a disk's boot
 * sector, or, with none of them, a stub that halts. Images are read again at each reset, from the files
 * that were there at the start.
 */
import { BootError, type BootFile, type InitialCpu } from "../boot/boot.ts";
import { loadBootSector } from "../boot/boot_sector.ts";
import { isElf, parseElf } from "../boot/elf.ts";
import { layOutFirmware, resetOnlyFirmware } from "../boot/firmware.ts";
import { loadKernel } from "../boot/kernel.ts";
import { isRam, lowRamEnd, microvmMemoryMap } from "../boot/memory_map.ts";
import { encodeMpTable, mpTableAddress } from "../boot/mptable.ts";
import { writeSegment } from "../boot/pvh.ts";
import { linkAcpiFiles } from "../devices/acpi/system_table.ts";
import { type AcpiConfiguration, buildAcpiFiles } from "../devices/acpi/tables.ts";
import { readPath } from "../native/descriptor_path.ts";
import type { OpenPath } from "../native/file.ts";
import { notice } from "../process/messages.ts";
import { PAGE_SIZE } from "../memory/ram_block.ts";
import type { BootFiles } from "./boot_files.ts";
import type { FirmwareKernel } from "./firmware_items.ts";
import type { MachineRam } from "./ram.ts";

const SECTOR_SIZE = 512;
/** Where guests look for the RSDP: in the BIOS area. */
const RSDP_ADDRESS = 0xe0000;

/** -kernel, -initrd and -append. */
export interface KernelSource {
  readonly kernel: string;
  readonly initrd?: string;
  readonly commandLine: string;
}

/** What the guest starts from, by the command line. */
export type StartUpSource = { readonly files: BootFiles } & StartUpImage;

type StartUpImage =
  | {
    readonly kind: "firmware";
    readonly image: BootFile;
    /** What the firmware finds by fw_cfg. */
    readonly kernel?: KernelSource;
  }
  | { readonly kind: "kernel" } & KernelSource
  | { readonly kind: "disk"; readonly path: string }
  | { readonly kind: "nothing" };

/** What the tables that a kernel finds describe. */
export interface StartUpMachine {
  readonly cpus: number;
  /** Absent with acpi=off; then there is an MP table. */
  readonly acpi: AcpiConfiguration | undefined;
  /** EAX and EDX of CPUID leaf 1, for the MP table. */
  readonly signature: number;
  readonly features: number;
}

/** Reads a firmware image of -bios. */
export function readFirmware(path: string, openPath: OpenPath): BootFile {
  const image = { name: path, bytes: readPath(openPath, path) };
  layOutFirmware(image);
  return image;
}

/** Loads what the guest starts from into RAM and says how its boot CPU starts. */
export function loadStartUp(
  source: StartUpSource,
  machine: StartUpMachine,
  ram: MachineRam,
): InitialCpu {
  const firmware = ram.firmware.mapping.bytes;
  switch (source.kind) {
    case "firmware":
      firmware.set(source.image.bytes);
      // Firmware starts an ELF kernel where it is, and copies a bzImage itself.
      if (source.kernel !== undefined) loadIfElf(source.kernel.kernel, source.files, ram);
      return { mode: "reset vector" };
    case "kernel":
      firmware.set(resetOnlyFirmware(firmware.length));
      return loadDirectly(source, machine, ram);
    case "disk":
      return startDisk(source, ram);
    case "nothing":
      return haltAtOnce(firmware);
  }
}

/** A disk that cannot be booted is no reason to end: with QEMU it is the firmware that finds nothing. */
function startDisk({ path, files }: StartUpSource & { kind: "disk" }, ram: MachineRam): InitialCpu {
  const firmware = ram.firmware.mapping.bytes;
  firmware.set(resetOnlyFirmware(firmware.length));
  try {
    const bytes = files.readStart(path, SECTOR_SIZE);
    return loadBootSector(ram.memory, { name: path, bytes });
  } catch (error) {
    if (!(error instanceof BootError)) throw error;
    notice(`warning: ${error.message}; the guest has nothing to start from`);
    return haltAtOnce(firmware);
  }
}

function haltAtOnce(firmware: Uint8Array): InitialCpu {
  firmware.fill(0);
  firmware.set(haltStub, firmware.length - haltStub.length);
  return { mode: "reset vector" };
}

/** What firmware is to start, read for fw_cfg. */
export function firmwareKernel(source: StartUpSource): FirmwareKernel | undefined {
  if (source.kind !== "firmware" || source.kernel === undefined) return undefined;
  const { kernel, initrd, commandLine } = source.kernel;
  const file = (name: string) => ({ name, bytes: source.files.read(name) });
  return {
    kernel: file(kernel),
    ...(initrd === undefined ? {} : { initrd: file(initrd) }),
    commandLine,
  };
}

function loadIfElf(kernel: string, files: BootFiles, ram: MachineRam): void {
  const file = { name: kernel, bytes: files.read(kernel) };
  if (!isElf(file.bytes)) return;
  const { segments } = parseElf(file);
  const map = microvmMemoryMap(ram.main.usedLength);
  for (const { address, memorySize } of segments) {
    if (isRam(map, address, memorySize)) continue;
    throw new Error(`could not load kernel '${kernel}': it does not fit into the guest's RAM`);
  }
  for (const segment of segments) writeSegment(ram.memory, segment);
}

/** At the reset vector: cli; hlt; jmp to the hlt. */
const haltStub = [0xfa, 0xf4, 0xeb, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

function loadDirectly(
  source: StartUpSource & { kind: "kernel" },
  machine: StartUpMachine,
  ram: MachineRam,
): InitialCpu {
  const size = ram.main.usedLength;
  const tables = machine.acpi ? placeTables(machine.acpi, ram) : undefined;
  if (!machine.acpi) ram.memory.write(mpTableAddress, encodeMpTable(machine));
  return loadKernel(ram.memory, {
    kernel: { name: source.kernel, bytes: source.files.read(source.kernel) },
    ...(source.initrd === undefined
      ? {}
      : { initrd: { name: source.initrd, bytes: source.files.read(source.initrd) } }),
    commandLine: source.commandLine,
    memoryMap: microvmMemoryMap(size, tables),
    ...(tables ? { rsdpAddress: RSDP_ADDRESS } : {}),
  });
}

/** Puts linked ACPI tables at the end of low RAM, and the RSDP where guests search. */
function placeTables(
  configuration: AcpiConfiguration,
  ram: MachineRam,
): { start: number; length: number } {
  const files = buildAcpiFiles(configuration);
  const length = Math.ceil(files.tables.length / PAGE_SIZE) * PAGE_SIZE;
  const start = Math.min(ram.main.usedLength, lowRamEnd) - length;
  const linked = linkAcpiFiles(files, { tables: start, rsdp: RSDP_ADDRESS });
  ram.memory.write(start, linked.tables);
  ram.memory.write(RSDP_ADDRESS, linked.rsdp);
  return { start, length };
}
