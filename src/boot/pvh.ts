/**
 * The PVH boot protocol: an ELF kernel whose Xen note gives a 32-bit entry point. Sources: Xen's
 * public headers arch-x86/hvm/start_info.h and elfnote.h, docs/misc/pvh.
 *
 *     parse ELF -> find note -> copy segments -> place initrd -> write start_info -> entry, ebx
 */

import { BootError, type GuestMemory, type InitialCpu, type KernelBoot } from "./boot.ts";
import { type ElfKernel, type ElfSegment, parseElf } from "./elf.ts";
import { e820Type, isRam } from "./memory_map.ts";
import { encodeCommandLine, placeInitrd, writeZeros } from "./placement.ts";

/** XEN_ELFNOTE_PHYS32_ENTRY: the description is the 32-bit physical entry point. */
const physicalEntryNote = 18;

/** Where the loader puts what the kernel reads; below 1 MiB, where no PVH kernel is linked. */
const startInfoAddress = 0x6000;
/** After start_info's 56 bytes; one entry of 32 bytes. */
const moduleListAddress = startInfoAddress + 64;
const memoryMapAddress = startInfoAddress + 128;
const memoryMapEntrySize = 24;
const commandLineAddress = 0x20000;
/** Bytes, with the terminating NUL. PVH names no limit; Linux takes 2048. */
const commandLineLimit = 0x10000;
const bootDataEnd = commandLineAddress + commandLineLimit;

const startInfoMagic = 0x336ec578;

/** Loads a PVH kernel and describes the machine to it. Throws {@linkcode BootError}. */
export function loadPvh(memory: GuestMemory, boot: KernelBoot): InitialCpu {
  const fail = (reason: string): never => {
    throw new BootError(`could not load kernel '${boot.kernel.name}': ${reason}`);
  };
  const elf = parseElf(boot.kernel);
  const entry = findEntry(elf) ?? fail("Error loading uncompressed kernel without PVH ELF Note");
  const segments = [...elf.segments].sort((a, b) => a.address - b.address);
  checkSegments(segments, boot, fail);
  if (!segments.some((s) => entry >= s.address && entry < s.address + s.memorySize)) {
    fail(`PVH entry point ${hex(entry)} lies outside the kernel`);
  }
  const commandLine = encodeCommandLine(boot.commandLine, commandLineLimit);
  const last = segments.at(-1);
  const kernelEnd = last === undefined ? 0 : last.address + last.memorySize;
  const initrd = boot.initrd && placeInitrd(boot.initrd, boot.memoryMap, kernelEnd, 0xffffffff);

  for (const segment of segments) writeSegment(memory, segment);
  if (initrd !== undefined && boot.initrd !== undefined) {
    memory.write(initrd.address, boot.initrd.bytes);
  }
  memory.write(commandLineAddress, commandLine);
  memory.write(startInfoAddress, encodeStartInfo(boot, initrd));
  return { mode: "protected", entry, ebx: startInfoAddress };
}

/** Puts a segment where it belongs. */
export function writeSegment(memory: GuestMemory, segment: ElfSegment): void {
  memory.write(segment.address, segment.bytes);
  const end = segment.address + segment.bytes.length;
  writeZeros(memory, end, segment.memorySize - segment.bytes.length);
}

/** The 32-bit entry point that a PVH kernel's note gives; `undefined` if there is no such note. */
export function findEntry(elf: ElfKernel): number | undefined {
  const note = elf.notes.find((n) =>
    n.name === "Xen" && n.type === physicalEntryNote && n.description.length >= 4
  );
  if (note === undefined) return undefined;
  const { description } = note;
  return new DataView(description.buffer, description.byteOffset).getUint32(0, true);
}

/** `segments` are sorted by address. */
function checkSegments(
  segments: readonly ElfSegment[],
  boot: KernelBoot,
  fail: (reason: string) => never,
): void {
  let end = 0;
  for (const { address, memorySize } of segments) {
    const range = `segment ${hex(address)}..${hex(address + memorySize - 1)}`;
    if (address < end) fail(`${range} overlaps another segment`);
    if (!isRam(boot.memoryMap, address, memorySize)) {
      fail(`${range} does not lie in the guest's RAM`);
    }
    if (address < bootDataEnd && address + memorySize > startInfoAddress) {
      fail(`${range} overlaps the boot data at ${hex(startInfoAddress)}..${hex(bootDataEnd - 1)}`);
    }
    end = address + memorySize;
  }
}

/** start_info version 1, the module list and the memory map, in one piece. */
function encodeStartInfo(
  boot: KernelBoot,
  initrd: { readonly address: number; readonly length: number } | undefined,
): Uint8Array {
  const map = boot.memoryMap;
  const size = memoryMapAddress - startInfoAddress + map.length * memoryMapEntrySize;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const u32 = (offset: number, value: number) => view.setUint32(offset, value, true);
  const u64 = (offset: number, value: number) => view.setBigUint64(offset, BigInt(value), true);

  u32(0, startInfoMagic);
  u32(4, 1); // version
  u32(12, initrd === undefined ? 0 : 1); // nr_modules
  u64(16, initrd === undefined ? 0 : moduleListAddress);
  u64(24, commandLineAddress);
  u64(32, boot.rsdpAddress ?? 0);
  u64(40, memoryMapAddress);
  u32(48, map.length);

  if (initrd !== undefined) {
    const module = moduleListAddress - startInfoAddress;
    u64(module, initrd.address);
    u64(module + 8, initrd.length);
  }
  map.forEach((entry, index) => {
    const offset = memoryMapAddress - startInfoAddress + index * memoryMapEntrySize;
    u64(offset, entry.start);
    u64(offset + 8, entry.length);
    u32(offset + 16, e820Type(entry.kind));
  });
  return bytes;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
