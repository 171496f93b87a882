/** The microvm board's memory: RAM blocks, where they appear to the guest, and KVM's slots for them. */
import type { Descriptor } from "../native/descriptor.ts";
import type { KvmVm } from "../kvm/vm.ts";
import { MemoryFlag } from "../kvm/constants.ts";
import { GuestMemory, type MemoryRegion } from "../memory/guest_memory.ts";
import type { MemoryBackendOptions } from "../configuration/memory_backend.ts";
import { createMemoryBackend } from "../memory/backend.ts";
import { createAuxiliaryBlock, PAGE_SIZE, type RamBlock } from "../memory/ram_block.ts";
import { ramLayout } from "../boot/memory_map.ts";
import type { OpenPath } from "../native/file.ts";

/** The name QEMU gives the RAM that no -object names. */
export const DEFAULT_RAM_NAME = "microvm.ram";

/** Names and sizes of the blocks behind the ACPI tables that firmware reads through fw_cfg. */
export const acpiBlocks = {
  tables: { name: "/rom@etc/acpi/tables", maximum: 0x200000 },
  loader: { name: "/rom@etc/table-loader", maximum: 0x10000 },
  rsdp: { name: "/rom@etc/acpi/rsdp", maximum: 0x1000 },
} as const;

/** Firmware sizes of QEMU's images for the board, which the block keeps without an image. */
const FIRMWARE_SIZE = { acpi: 0x20000, plain: 0x10000 } as const;
/** How much of the firmware also appears below 1 MiB. */
const ISA_FIRMWARE_LIMIT = 0x20000;
const ONE_MEBIBYTE = 0x100000;
const FOUR_GIBIBYTES = 0x1_0000_0000;

/** What the memory is made of. */
export interface RamOptions {
  /** Bytes. */
  readonly size: number;
  /** The backend that -machine memory-backend names; otherwise the board makes anonymous memory. */
  readonly backend?: MemoryBackendOptions;
  readonly acpi: boolean;
  /** Content of the firmware's block. */
  readonly firmware?: Uint8Array;
  /** -machine aux-ram-share=on. */
  readonly shareAuxiliary: boolean;
  /** Descriptors that a process before this one handed over, by block name. */
  readonly adopt: (name: string) => Descriptor | undefined;
  readonly openPath: OpenPath;
}

/** The board's memory. */
export class MachineRam implements Disposable {
  /** The guest's RAM. */
  readonly main: RamBlock;
  readonly firmware: RamBlock;
  /** In the order in which streams list them: largest first. */
  readonly blocks: readonly RamBlock[];
  readonly memory: GuestMemory;

  constructor(options: RamOptions) {
    using undo = new DisposableStack();
    const auxiliary = (
      name: string,
      usedLength: number,
      maximumLength: number,
      resizable = false,
    ) =>
      undo.use(createAuxiliaryBlock({
        name,
        usedLength,
        maximumLength,
        resizable,
        share: options.shareAuxiliary,
        adopted: options.adopt(name),
      }));
    const backend = options.backend ??
      { kind: "ram", id: DEFAULT_RAM_NAME, size: options.size, share: false };
    this.main = undo.use(createMemoryBackend(backend, options.adopt(backend.id), options.openPath));
    const firmwareSize = options.firmware?.length ??
      (options.acpi ? FIRMWARE_SIZE.acpi : FIRMWARE_SIZE.plain);
    this.firmware = auxiliary("pc.bios", firmwareSize, firmwareSize);
    const acpi = options.acpi
      ? Object.values(acpiBlocks).map(({ name, maximum }) =>
        auxiliary(name, PAGE_SIZE, maximum, true)
      )
      : [];
    this.blocks = [this.main, this.firmware, ...acpi]
      .toSorted((a, b) => b.maximumLength - a.maximumLength);
    this.memory = new GuestMemory(layOut(this.main, this.firmware, options.size));
    undo.move();
  }

  /** The block of that name. */
  block(name: string): RamBlock | undefined {
    return this.blocks.find((block) => block.name === name);
  }

  [Symbol.dispose](): void {
    for (const block of this.blocks) block[Symbol.dispose]();
  }
}

/** The firmware covers the end of the first mebibyte and the end of the first four gibibytes. */
function layOut(main: RamBlock, firmware: RamBlock, size: number): MemoryRegion[] {
  const isaSize = Math.min(firmware.usedLength, ISA_FIRMWARE_LIMIT);
  const isaStart = ONE_MEBIBYTE - isaSize;
  const regions: MemoryRegion[] = [
    {
      address: isaStart,
      size: isaSize,
      block: firmware,
      blockOffset: firmware.usedLength - isaSize,
    },
    {
      address: FOUR_GIBIBYTES - firmware.usedLength,
      size: firmware.usedLength,
      block: firmware,
      blockOffset: 0,
    },
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
}

/** KVM's memory slots, one for each region. */
export class MemorySlots {
  readonly #vm: KvmVm;
  readonly #regions: readonly MemoryRegion[];

  /**
   * Sets the slots. Do it before the interrupt controllers are created: afterwards KVM waits some
   * milliseconds for each first change.
   */
  constructor(vm: KvmVm, memory: GuestMemory) {
    this.#vm = vm;
    this.#regions = memory.regions;
    this.#set(0);
  }

  /** The region of each slot; its index is the slot's number. */
  get regions(): readonly MemoryRegion[] {
    return this.#regions;
  }

  /** Starts or stops recording which pages the guest writes. */
  logDirtyPages(on: boolean): void {
    this.#set(on ? MemoryFlag.logDirtyPages : 0);
  }

  #set(flags: number): void {
    this.#regions.forEach((region, slot) =>
      this.#vm.setMemorySlot({
        slot,
        flags,
        guestAddress: region.address,
        size: region.size,
        hostAddress: region.block.mapping.address + BigInt(region.blockOffset),
      })
    );
  }
}
