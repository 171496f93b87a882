/**
 * The q35 board's memory. RAM is split at 2 GiB if it has 0xb0000000 bytes or more: the host bridge's windows
 * are below 4 GiB. In the first mebibyte the host bridge's registers PAM0 to PAM6 choose what is seen, RAM or
 * what is behind it on the bus: option ROMs (`pc.rom`) and the end of the firmware (Intel 3 Series Express
 * Chipset, 5.1.13 to 5.1.19).
 */
import type { GuestMemory, MemoryRegion, RegionContent } from "../../memory/guest_memory.ts";
import { acpiBlocks, firmwareRegion, type RamBlocks, type RamPlan } from "../ram.ts";

/** The name QEMU gives the RAM that no -object names. */
export const Q35_RAM_NAME = "pc.ram";

/** The block of option ROMs, which is there without any. */
export const OPTION_ROMS = { name: "pc.rom", address: 0xc0000, size: 0x20000 } as const;
/** Size of QEMU's default firmware image, which the block keeps without an image. */
const FIRMWARE_SIZE = 0x40000;
/** How much of the firmware also appears below 1 MiB. */
const ISA_FIRMWARE_LIMIT = 0x20000;
const ONE_MEBIBYTE = 0x100000;
const FOUR_GIBIBYTES = 0x1_0000_0000;
/** RAM of that size and more leaves all above {@linkcode SPLIT} to addresses from 4 GiB on. */
const SPLIT_FROM = 0xb0000000;
const SPLIT = 0x80000000;

/** How many registers PAM0 to PAM6 there are. */
export const PAM_COUNT = 7;

/** A part of the first mebibyte, and the two bits of PAM that say what is seen there. */
interface PamArea {
  readonly address: number;
  readonly size: number;
  readonly register: number;
  readonly shift: number;
}

const SMALL = 0x4000;
const pamAreas: readonly PamArea[] = [
  ...Array.from({ length: 12 }, (_, i) => ({
    address: OPTION_ROMS.address + i * SMALL,
    size: SMALL,
    register: 1 + (i >> 1),
    shift: i % 2 === 0 ? 0 : 4,
  })),
  { address: 0xf0000, size: 0x10000, register: 0, shift: 4 },
];

/** Values of the two bits. Writes alone cannot go to RAM: QEMU takes that for neither, as we do. */
const READ_FROM_RAM = 1;
const ALL_TO_RAM = 3;

/** Where RAM lies, in bytes: one piece or two. */
export function q35RamLayout(size: number): readonly { start: number; length: number }[] {
  const low = size >= SPLIT_FROM ? SPLIT : size;
  const pieces = [{ start: 0, length: low }];
  if (size > low) pieces.push({ start: FOUR_GIBIBYTES, length: size - low });
  return pieces;
}

/** What stands where in memory, with PAM as after a reset. */
export function q35Ram(acpi: boolean): RamPlan {
  return {
    defaultName: Q35_RAM_NAME,
    firmwareSize: FIRMWARE_SIZE,
    blocks: [
      { name: OPTION_ROMS.name, length: OPTION_ROMS.size, maximum: OPTION_ROMS.size },
      ...(acpi ? Object.values(acpiBlocks) : []),
    ],
    layOut: (blocks, size) => {
      const { main, firmware } = blocks;
      const regions: MemoryRegion[] = [
        { address: 0, size: OPTION_ROMS.address, block: main, blockOffset: 0 },
        ...pamAreas.map(({ address, size }) => ({ address, size, ...behind(blocks, address) })),
        { ...firmwareRegion(firmware), readOnly: true },
      ];
      let blockOffset = 0;
      for (const { start, length } of q35RamLayout(size)) {
        const from = Math.max(start, ONE_MEBIBYTE);
        const offset = blockOffset + from - start;
        regions.push({
          address: from,
          size: start + length - from,
          block: main,
          blockOffset: offset,
        });
        blockOffset += length;
      }
      return regions;
    },
  };
}

/** Shows what PAM0 to PAM6 say. No processor may run. */
export function applyPam(
  memory: Pick<GuestMemory, "remap">,
  blocks: RamBlocks,
  registers: Uint8Array,
): void {
  for (const { address, register, shift } of pamAreas) {
    const mode = (registers[register] ?? 0) >> shift & 3;
    const ram = { block: blocks.main, blockOffset: address };
    memory.remap(
      address,
      mode === ALL_TO_RAM
        ? ram
        : mode === READ_FROM_RAM
        ? { ...ram, readOnly: true }
        : behind(blocks, address),
    );
  }
}

/** What is on the bus at an address of the first mebibyte; where nothing is, RAM is seen. */
function behind(blocks: RamBlocks, address: number): RegionContent {
  const { main, firmware } = blocks;
  const roms = blocks.block(OPTION_ROMS.name);
  const isaSize = Math.min(firmware.usedLength, ISA_FIRMWARE_LIMIT);
  if (address >= ONE_MEBIBYTE - isaSize) {
    const blockOffset = firmware.usedLength - (ONE_MEBIBYTE - address);
    return { block: firmware, blockOffset, readOnly: true };
  }
  if (roms !== undefined && address < OPTION_ROMS.address + OPTION_ROMS.size) {
    return { block: roms, blockOffset: address - OPTION_ROMS.address, readOnly: true };
  }
  return { block: main, blockOffset: address };
}
