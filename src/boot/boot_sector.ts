/**
 * Starts a disk's first sector as a BIOS does: at 0x7c00 in real mode, with the drive's number in
 * dl. There is no BIOS behind it: INT finds an empty vector table.
 */

import { BootError, type BootFile, type GuestMemory, type InitialCpu } from "./boot.ts";

const sectorSize = 512;
const loadAddress = 0x7c00;
const firstHardDisk = 0x80;

/** `disk` needs to hold the first 512 bytes only. Throws if they have no boot signature. */
export function loadBootSector(memory: GuestMemory, disk: BootFile): InitialCpu {
  if (disk.bytes.length < sectorSize) {
    throw new BootError(`could not boot disk '${disk.name}': it is shorter than a sector`);
  }
  if (disk.bytes[510] !== 0x55 || disk.bytes[511] !== 0xaa) {
    throw new BootError(
      `could not boot disk '${disk.name}': no boot signature in its first sector`,
    );
  }
  memory.write(loadAddress, disk.bytes.subarray(0, sectorSize));
  return {
    mode: "real",
    segment: 0,
    offset: loadAddress,
    stackPointer: loadAddress,
    dl: firstHardDisk,
  };
}
