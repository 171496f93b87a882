/**
 * The 64-bit Linux boot protocol for a bzImage. Source: Linux' Documentation/arch/x86/boot.rst and
 * zero-page.rst; offsets are those of the file, which are those of boot_params too.
 *
 *     check setup header -> place kernel, initrd -> write boot_params, tables -> entry + 0x200, rsi
 */

import {
  BootError,
  type BootFile,
  type GuestMemory,
  type InitialCpu,
  type KernelBoot,
  type MemoryMapEntry,
} from "./boot.ts";
import { e820Type, isRam } from "./memory_map.ts";
import { encodeCommandLine, placeInitrd } from "./placement.ts";
import { bootCodeSelector, bootDataSelector } from "./registers.ts";

/** Where the loader puts what the kernel reads; all below 640 KiB, where no bzImage is loaded. */
const gdtAddress = 0x500;
const bootParamsAddress = 0x7000;
const bootParamsSize = 4096;
/** PML4, page directory pointer table and four page directories: 4 GiB one to one. */
const pageTablesAddress = 0x9000;
const stackTop = 0x9000;
const commandLineAddress = 0x20000;
const commandLineMaximum = 0x10000;

/** Fields of the setup header. */
const setupSectors = 0x1f1;
const protectedModeParagraphs = 0x1f4;
const bootFlag = 0x1fe;
const jump = 0x200;
const headerMagic = 0x202;
const protocolVersion = 0x206;
const typeOfLoader = 0x210;
const loadFlags = 0x211;
const ramdiskImage = 0x218;
const ramdiskSize = 0x21c;
const commandLinePointer = 0x228;
const initrdAddressMaximum = 0x22c;
const kernelAlignment = 0x230;
const relocatableKernel = 0x234;
const extraLoadFlags = 0x236;
const commandLineSize = 0x238;
const preferredAddress = 0x258;
const initSize = 0x260;
const headerLimit = 0x290;

/** Fields of boot_params outside the setup header. */
const acpiRsdpAddress = 0x70;
const e820Count = 0x1e8;
const e820Table = 0x2d0;
const e820EntrySize = 20;
const e820Maximum = 128;

/** 2.12, the first with xloadflags and the 64-bit entry point. */
const firstUsableProtocol = 0x20c;
const flagLoadedHigh = 0x01;
const flag64BitEntry = 0x01;
const entryOffset = 0x200;
/** "Undefined": the protocol has no number for this loader. */
const undefinedLoader = 0xff;
const lowestKernelAddress = 0x100000;

/** What the setup header says, checked. */
interface SetupHeader {
  /** The protected-mode kernel, a view into the file. */
  readonly kernel: Uint8Array;
  /** From 0x1f1, a view into the file. */
  readonly header: Uint8Array;
  /** Bytes from its load address on that the kernel needs before it reads the memory map. */
  readonly initSize: number;
  readonly preferredAddress: number;
  /** `undefined`: it runs at its preferred address only. */
  readonly alignment: number | undefined;
  /** In bytes, with NUL. */
  readonly commandLineLimit: number;
  readonly initrdHighest: number;
}

/** Whether the file has the setup header's magic; it may still be damaged or too old. */
export function isBzImage(bytes: Uint8Array): boolean {
  return bytes.length >= headerLimit && viewOf(bytes).getUint32(headerMagic, true) === 0x53726448;
}

/** Loads a bzImage and describes the machine to it. Throws {@linkcode BootError}. */
export function loadBzImage(memory: GuestMemory, boot: KernelBoot): InitialCpu {
  const setup = parseSetupHeader(boot.kernel);
  const address = placeKernel(boot.kernel.name, setup, boot.memoryMap);
  const commandLine = encodeCommandLine(boot.commandLine, setup.commandLineLimit);
  // Above the kernel's whole working area: it is decompressed there before it looks for the initrd.
  const initrd = boot.initrd &&
    placeInitrd(boot.initrd, boot.memoryMap, address + setup.initSize, setup.initrdHighest);

  memory.write(address, setup.kernel);
  if (initrd !== undefined && boot.initrd !== undefined) {
    memory.write(initrd.address, boot.initrd.bytes);
  }
  memory.write(commandLineAddress, commandLine);
  memory.write(bootParamsAddress, encodeBootParams(boot, setup, initrd));
  memory.write(pageTablesAddress, identityMap(pageTablesAddress));
  const gdt = bootGdt();
  memory.write(gdtAddress, gdt);
  return {
    mode: "long",
    entry: address + entryOffset,
    rsi: bootParamsAddress,
    stackPointer: stackTop,
    cr3: pageTablesAddress,
    gdt: { base: gdtAddress, limit: gdt.length - 1 },
  };
}

function parseSetupHeader(file: BootFile): SetupHeader {
  const fail = (reason: string): never => {
    throw new BootError(`could not load kernel '${file.name}': ${reason}`);
  };
  const { bytes } = file;
  if (!isBzImage(bytes)) fail("not a Linux bzImage");
  const view = viewOf(bytes);
  if (view.getUint16(bootFlag, true) !== 0xaa55) fail("boot flag 0xaa55 is missing");
  const version = view.getUint16(protocolVersion, true);
  if (version < firstUsableProtocol) {
    fail(
      `boot protocol ${version >> 8}.${version & 0xff} is too old: 2.12 or newer is needed`,
    );
  }
  if ((view.getUint8(loadFlags) & flagLoadedHigh) === 0) fail("not a bzImage but a zImage");
  if ((view.getUint16(extraLoadFlags, true) & flag64BitEntry) === 0) {
    fail("it has no 64-bit entry point (32-bit kernel?)");
  }

  const setupSize = ((view.getUint8(setupSectors) || 4) + 1) * 512;
  const kernelSize = view.getUint32(protectedModeParagraphs, true) * 16;
  const available = bytes.length - setupSize;
  // The count is rounded up to 16 bytes, the file need not be.
  if (kernelSize === 0 || kernelSize > available + 15) {
    fail(`file is truncated: ${setupSize + kernelSize} bytes expected, ${bytes.length} found`);
  }
  const alignment = view.getUint32(kernelAlignment, true);
  const relocatable = view.getUint8(relocatableKernel) !== 0;
  if (relocatable && (alignment === 0 || (alignment & (alignment - 1)) !== 0)) {
    fail(`kernel alignment ${alignment} is not a power of two`);
  }
  const headerEnd = headerMagic + view.getUint8(jump + 1);
  if (headerEnd <= initSize + 3 || headerEnd > headerLimit) {
    fail(`setup header ends at ${headerEnd}, which protocol 2.12 rules out`);
  }
  return {
    kernel: bytes.subarray(setupSize, setupSize + Math.min(kernelSize, available)),
    header: bytes.subarray(setupSectors, headerEnd),
    initSize: Math.max(view.getUint32(initSize, true), kernelSize),
    preferredAddress: Number(view.getBigUint64(preferredAddress, true)),
    alignment: relocatable ? alignment : undefined,
    commandLineLimit: Math.min(view.getUint32(commandLineSize, true) + 1, commandLineMaximum),
    initrdHighest: view.getUint32(initrdAddressMaximum, true),
  };
}

/** The preferred address if there is RAM, or the lowest aligned one for a relocatable kernel. */
function placeKernel(name: string, setup: SetupHeader, map: readonly MemoryMapEntry[]): number {
  const preferred = setup.preferredAddress;
  if (preferred >= lowestKernelAddress && isRam(map, preferred, setup.initSize)) return preferred;
  if (setup.alignment !== undefined) {
    for (const entry of map) {
      const lowest = Math.max(entry.start, lowestKernelAddress);
      const address = Math.ceil(lowest / setup.alignment) * setup.alignment;
      // The page tables reach to 4 GiB.
      if (address + setup.initSize > 0x1_0000_0000) continue;
      if (isRam(map, address, setup.initSize)) return address;
    }
  }
  throw new BootError(
    `could not load kernel '${name}': it needs ${setup.initSize} bytes of RAM at ` +
      `0x${preferred.toString(16)}, which the guest does not have`,
  );
}

function encodeBootParams(
  boot: KernelBoot,
  setup: SetupHeader,
  initrd: { readonly address: number; readonly length: number } | undefined,
): Uint8Array {
  const bytes = new Uint8Array(bootParamsSize);
  const view = viewOf(bytes);
  bytes.set(setup.header, setupSectors);
  view.setUint8(typeOfLoader, undefinedLoader);
  view.setUint32(commandLinePointer, commandLineAddress, true);
  view.setUint32(ramdiskImage, initrd?.address ?? 0, true);
  view.setUint32(ramdiskSize, initrd?.length ?? 0, true);
  view.setBigUint64(acpiRsdpAddress, BigInt(boot.rsdpAddress ?? 0), true);
  if (boot.memoryMap.length > e820Maximum) {
    throw new BootError(
      `memory map of ${boot.memoryMap.length} entries is too long: at most ${e820Maximum}`,
    );
  }
  view.setUint8(e820Count, boot.memoryMap.length);
  boot.memoryMap.forEach((entry, index) => {
    const offset = e820Table + index * e820EntrySize;
    view.setBigUint64(offset, BigInt(entry.start), true);
    view.setBigUint64(offset + 8, BigInt(entry.length), true);
    view.setUint32(offset + 16, e820Type(entry.kind), true);
  });
  return bytes;
}

/** Page tables, to be written at `address`, that map the first 4 GiB one to one in 2 MiB pages. */
function identityMap(address: number): Uint8Array {
  const presentWritable = 0x03;
  const pageSize2MiB = 0x80;
  const bytes = new Uint8Array(6 * 4096);
  const view = viewOf(bytes);
  const set = (table: number, index: number, value: number) =>
    view.setBigUint64(table * 4096 + index * 8, BigInt(value), true);
  set(0, 0, address + 4096 + presentWritable);
  for (let gibibyte = 0; gibibyte < 4; gibibyte++) {
    set(1, gibibyte, address + (2 + gibibyte) * 4096 + presentWritable);
  }
  for (let page = 0; page < 4 * 512; page++) {
    set(2, page, page * 0x200000 + presentWritable + pageSize2MiB);
  }
  return bytes;
}

function bootGdt(): Uint8Array {
  const bytes = new Uint8Array(bootDataSelector + 8);
  const view = viewOf(bytes);
  view.setBigUint64(bootCodeSelector, 0x00af9b000000ffffn, true);
  view.setBigUint64(bootDataSelector, 0x00cf93000000ffffn, true);
  return bytes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
