/** The microvm board's memory: RAM split at 3 GiB, firmware below 1 MiB and below 4 GiB. */
import { ramLayout } from "../../boot/memory_map.ts";
import type { MemoryRegion } from "../../memory/guest_memory.ts";
import { acpiBlocks, firmwareRegion, type RamPlan } from "../ram.ts";

/** Firmware sizes of QEMU's images for the board, which the block keeps without an image. */
const FIRMWARE_SIZE = { acpi: 0x20000, plain: 0x10000 } as const;
/** How much of the firmware also appears below 1 MiB. */
const ISA_FIRMWARE_LIMIT = 0x20000;
const ONE_MEBIBYTE = 0x100000;

/** The name QEMU gives the RAM that no -object names. */
export const MICROVM_RAM_NAME = "microvm.ram";

/** What stands where in memory. */
export function microvmRam(acpi: boolean): RamPlan {
  return {
    defaultName: MICROVM_RAM_NAME,
    firmwareSize: acpi ? FIRMWARE_SIZE.acpi : FIRMWARE_SIZE.plain,
    blocks: acpi ? Object.values(acpiBlocks) : [],
    layOut: ({ main, firmware }, size) => {
      const isaSize = Math.min(firmware.usedLength, ISA_FIRMWARE_LIMIT);
      const isaStart = ONE_MEBIBYTE - isaSize;
      const regions: MemoryRegion[] = [
        {
          address: isaStart,
          size: isaSize,
          block: firmware,
          blockOffset: firmware.usedLength - isaSize,
        },
        firmwareRegion(firmware),
      ];
      let blockOffset = 0;
      for (const { start, length } of ramLayout(size)) {
        const ram = (from: number, end: number) => {
          if (end > from) {
            const offset = blockOffset + from - start;
            regions.push({ address: from, size: end - from, block: main, blockOffset: offset });
          }
        };
        ram(start, Math.min(start + length, Math.max(start, isaStart)));
        ram(Math.max(start, ONE_MEBIBYTE), start + length);
        blockOffset += length;
      }
      return regions;
    },
  };
}
