/**
 * What the microvm board offers by fw_cfg, as QEMU 11.1 does: items that describe the machine, and a
 * Linux or PVH kernel for firmware to boot (qboot reads it by its keys; SeaBIOS needs QEMU's option
 * ROMs `linuxboot_dma.bin` and `pvh.bin`, too).
 */
import { buildDeviceTree, DEVICE_TREE_SIZE, type DeviceTreeConfiguration } from "./device_tree.ts";
import { type FwCfg, FwCfgKey } from "./fw_cfg.ts";

/** What the items say of the machine. */
export interface BoardItems {
  cpus: number;
  maximumCpus: number;
  /** RAM in the guest physical address space, in bytes. */
  ram: readonly { start: number; length: number }[];
  /** The 16 bytes of -uuid. */
  uuid?: Uint8Array | undefined;
  /** -nographic: firmware uses the serial port. */
  noGraphic: boolean;
  /** -boot menu=on */
  bootMenu: boolean;
  /** -boot reboot-timeout, in ms; `undefined`: never. */
  rebootTimeout?: number | undefined;
  /** Firmware's names of what to boot from, first to last. */
  bootOrder: readonly string[];
  devices: DeviceTreeConfiguration;
}

/** A kernel in the Linux boot protocol, and what to give it. */
export interface LinuxItems {
  /** The file: a bzImage. */
  kernel: Uint8Array;
  initrd?: Uint8Array | undefined;
  commandLine: string;
  /** Where RAM below 4 GiB ends. */
  lowRamEnd: number;
}

const E820_RAM = 1;
const E820_ENTRY_SIZE = 20;
const NEVER = 0xffffffff;

/** Where firmware puts the parts of a kernel. */
const SETUP_ADDRESS = 0x10000;
const COMMAND_LINE_ADDRESS = 0x20000;
const KERNEL_ADDRESS = 0x100000;

/** Fields of the setup header (Linux' Documentation/arch/x86/boot.rst). */
const SETUP_SECTORS = 0x1f1;
const MAGIC = 0x202;
const PROTOCOL = 0x206;
const LOADER_TYPE = 0x210;
const LOAD_FLAGS = 0x211;
const INITRD_ADDRESS = 0x218;
const INITRD_SIZE = 0x21c;
const HEAP_END = 0x224;
const COMMAND_LINE_POINTER = 0x228;
const INITRD_MAXIMUM = 0x22c;
const EXTRA_LOAD_FLAGS = 0x236;
const HEADER_END = 0x238;

const HDRS = 0x53726448;
/** The protocol that has a command line pointer. */
const FIRST_USABLE_PROTOCOL = 0x202;
const FIRST_PROTOCOL_WITH_MAXIMUM = 0x203;
const FIRST_PROTOCOL_WITH_EXTRA_FLAGS = 0x20c;
const LOADED_HIGH = 0x01;
const CAN_USE_HEAP = 0x80;
const CAN_BE_ABOVE_4G = 0x02;
/** The loader's number: QEMU. */
const LOADER_QEMU = 0xb0;
const DEFAULT_INITRD_MAXIMUM = 0x37ffffff;
const PAGE_SIZE = 4096;

/** Adds the items that describe the machine. */
export function addBoardItems(fwCfg: FwCfg, board: BoardItems): void {
  const ramSize = board.ram.reduce((sum, { length }) => sum + length, 0);
  fwCfg.add(FwCfgKey.uuid, board.uuid ?? new Uint8Array(16));
  fwCfg.addU64(FwCfgKey.ramSize, BigInt(ramSize));
  fwCfg.addU16(FwCfgKey.noGraphic, board.noGraphic ? 1 : 0);
  fwCfg.addU16(FwCfgKey.cpuCount, board.cpus);
  fwCfg.addU16(FwCfgKey.bootMenu, board.bootMenu ? 1 : 0);
  fwCfg.addU16(FwCfgKey.maximumCpus, board.maximumCpus);
  fwCfg.addU32(FwCfgKey.irq0Override, 1);

  fwCfg.addFile("bios-geometry", new Uint8Array(0));
  fwCfg.addFile("bootorder", encodeBootOrder(board.bootOrder));
  fwCfg.addFile("etc/boot-fail-wait", u32(board.rebootTimeout ?? NEVER));
  fwCfg.addFile("etc/e820", encodeE820(board.ram));
  fwCfg.addFile("etc/fdt", {
    length: DEVICE_TREE_SIZE,
    make: () => buildDeviceTree(board.devices),
  });
}

/**
 * Adds a kernel for firmware to load. Throws RangeError if the file is not a bzImage of protocol 2.2
 * or later, or the initrd has no place.
 */
export function addLinuxItems(fwCfg: FwCfg, items: LinuxItems): void {
  const { kernel } = items;
  const file = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  if (kernel.length < HEADER_END || file.getUint32(MAGIC, true) !== HDRS) {
    throw new RangeError("the kernel is not a Linux bzImage");
  }
  const protocol = file.getUint16(PROTOCOL, true);
  if (protocol < FIRST_USABLE_PROTOCOL || (file.getUint8(LOAD_FLAGS) & LOADED_HIGH) === 0) {
    throw new RangeError("the kernel is too old: boot protocol 2.2 and a bzImage are needed");
  }
  const setupSize = ((file.getUint8(SETUP_SECTORS) || 4) + 1) * 512;
  if (setupSize > kernel.length) throw new RangeError("the kernel is truncated");

  const setup = kernel.slice(0, setupSize);
  const header = new DataView(setup.buffer);
  header.setUint8(LOADER_TYPE, LOADER_QEMU);
  header.setUint8(LOAD_FLAGS, header.getUint8(LOAD_FLAGS) | CAN_USE_HEAP);
  header.setUint16(HEAP_END, COMMAND_LINE_ADDRESS - SETUP_ADDRESS - 0x200, true);
  header.setUint32(COMMAND_LINE_POINTER, COMMAND_LINE_ADDRESS, true);
  if (items.initrd !== undefined) {
    const address = placeInitrd(file, protocol, items.initrd.length, items.lowRamEnd);
    header.setUint32(INITRD_ADDRESS, address, true);
    header.setUint32(INITRD_SIZE, items.initrd.length, true);
    fwCfg.addU32(FwCfgKey.initrdAddress, address);
    fwCfg.addU32(FwCfgKey.initrdSize, items.initrd.length);
    fwCfg.add(FwCfgKey.initrdData, items.initrd);
  }
  const commandLine = new TextEncoder().encode(`${items.commandLine}\0`);
  fwCfg.addU32(FwCfgKey.commandLineAddress, COMMAND_LINE_ADDRESS);
  fwCfg.addU32(FwCfgKey.commandLineSize, commandLine.length);
  fwCfg.add(FwCfgKey.commandLineData, commandLine);
  fwCfg.addU32(FwCfgKey.kernelAddress, KERNEL_ADDRESS);
  fwCfg.addU32(FwCfgKey.kernelSize, kernel.length - setupSize);
  fwCfg.add(FwCfgKey.kernelData, kernel.subarray(setupSize));
  fwCfg.addU32(FwCfgKey.setupAddress, SETUP_ADDRESS);
  fwCfg.addU32(FwCfgKey.setupSize, setupSize);
  fwCfg.add(FwCfgKey.setupData, setup);
  fwCfg.addFile("etc/boot/kernel", kernel);
}

/** A PVH kernel whose segments are in RAM already, and what to give it. */
export interface PvhItems {
  /** The ELF file. */
  kernel: Uint8Array;
  entry: number;
  /** Where its segments start and end. */
  start: number;
  end: number;
  initrd?: Uint8Array | undefined;
  commandLine: string;
  /** Where RAM below 4 GiB ends. */
  lowRamEnd: number;
}

/** How much of an ELF file firmware is shown to know its kind by. */
const ELF_START_SIZE = 8192;

/** Adds what firmware needs to start a PVH kernel. Throws RangeError if the initrd has no place. */
export function addPvhItems(fwCfg: FwCfg, items: PvhItems): void {
  const commandLine = new TextEncoder().encode(`${items.commandLine}\0`);
  const start = new Uint8Array(ELF_START_SIZE);
  start.set(items.kernel.subarray(0, ELF_START_SIZE));
  fwCfg.addU32(FwCfgKey.kernelEntry, items.entry);
  fwCfg.addU32(FwCfgKey.kernelAddress, items.start);
  fwCfg.addU32(FwCfgKey.kernelSize, items.end - items.start);
  fwCfg.addU32(FwCfgKey.commandLineSize, commandLine.length);
  fwCfg.add(FwCfgKey.commandLineData, commandLine);
  fwCfg.addU32(FwCfgKey.setupSize, start.length);
  fwCfg.add(FwCfgKey.setupData, start);
  if (items.initrd === undefined) return;
  const highest = items.lowRamEnd - 1;
  if (items.initrd.length >= highest - items.end) {
    throw new RangeError(`the initrd has no place (${items.initrd.length} bytes)`);
  }
  const address = Math.floor((highest - items.initrd.length) / PAGE_SIZE) * PAGE_SIZE;
  fwCfg.addU32(FwCfgKey.initrdAddress, address);
  fwCfg.addU32(FwCfgKey.initrdSize, items.initrd.length);
  fwCfg.add(FwCfgKey.initrdData, items.initrd);
}

/** The highest page-aligned place that the kernel and RAM allow. */
function placeInitrd(
  header: DataView,
  protocol: number,
  length: number,
  lowRamEnd: number,
): number {
  let highest = DEFAULT_INITRD_MAXIMUM;
  if (
    protocol >= FIRST_PROTOCOL_WITH_EXTRA_FLAGS &&
    (header.getUint16(EXTRA_LOAD_FLAGS, true) & CAN_BE_ABOVE_4G) !== 0
  ) {
    highest = 0xffffffff;
  } else if (protocol >= FIRST_PROTOCOL_WITH_MAXIMUM) {
    highest = header.getUint32(INITRD_MAXIMUM, true);
  }
  highest = Math.min(highest, lowRamEnd - 1);
  if (length >= highest) {
    throw new RangeError(`the initrd is too large (max: ${highest}, need ${length})`);
  }
  return Math.floor((highest - length) / PAGE_SIZE) * PAGE_SIZE;
}

/** A line for each name; the last one ends with a NUL. */
function encodeBootOrder(names: readonly string[]): Uint8Array {
  return new TextEncoder().encode(names.length === 0 ? "" : `${names.join("\n")}\0`);
}

function encodeE820(ram: readonly { start: number; length: number }[]): Uint8Array {
  const bytes = new Uint8Array(ram.length * E820_ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  ram.forEach(({ start, length }, index) => {
    const entry = index * E820_ENTRY_SIZE;
    view.setBigUint64(entry, BigInt(start), true);
    view.setBigUint64(entry + 8, BigInt(length), true);
    view.setUint32(entry + 16, E820_RAM, true);
  });
  return bytes;
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
