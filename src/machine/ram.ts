/** A board's memory: RAM blocks, where they appear to the guest, and KVM's slots for them. */
import type { Descriptor } from "../native/descriptor.ts";
import type { KvmVm } from "../kvm/vm.ts";
import { MemoryFlag } from "../kvm/constants.ts";
import type { LoggedSlots, SlotListener } from "../kvm/dirty_tracker.ts";
import { GuestMemory, type MemoryRegion } from "../memory/guest_memory.ts";
import type { MemoryBackendOptions } from "../configuration/memory_backend.ts";
import { createMemoryBackend } from "../memory/backend.ts";
import { createAuxiliaryBlock, PAGE_SIZE, type RamBlock } from "../memory/ram_block.ts";
import type { OpenPath } from "../native/file.ts";

/** Names and sizes of the blocks behind the ACPI tables that firmware reads through fw_cfg. */
export const acpiBlocks = {
  tables: { name: "/rom@etc/acpi/tables", length: PAGE_SIZE, maximum: 0x200000, resizable: true },
  loader: { name: "/rom@etc/table-loader", length: PAGE_SIZE, maximum: 0x10000, resizable: true },
  rsdp: { name: "/rom@etc/acpi/rsdp", length: PAGE_SIZE, maximum: 0x1000, resizable: true },
} as const;

const FOUR_GIBIBYTES = 0x1_0000_0000;

/** A block that a board has besides the guest's RAM and the firmware. */
export interface PlannedBlock {
  readonly name: string;
  /** Bytes in use at first, and at most. */
  readonly length: number;
  readonly maximum: number;
  readonly resizable?: boolean;
}

/** The blocks of a board. */
export interface RamBlocks {
  /** The guest's RAM. */
  readonly main: RamBlock;
  readonly firmware: RamBlock;
  /** The block of that name. */
  block(name: string): RamBlock | undefined;
}

/** What of memory stands where on a board. */
export interface RamPlan {
  /** The name QEMU gives the RAM that no -object names. */
  readonly defaultName: string;
  /** Bytes of the firmware's block without an image. */
  readonly firmwareSize: number;
  readonly blocks: readonly PlannedBlock[];
  /** Where the guest sees what, with `size` bytes of RAM, after a reset. */
  layOut(blocks: RamBlocks, size: number): MemoryRegion[];
}

/** The firmware where the reset vector is: at the end of the first four gibibytes. */
export function firmwareRegion(firmware: RamBlock): MemoryRegion {
  const size = firmware.usedLength;
  return { address: FOUR_GIBIBYTES - size, size, block: firmware, blockOffset: 0 };
}

/** What the memory is made of. */
export interface RamOptions {
  /** Bytes. */
  readonly size: number;
  /** The backend that -machine memory-backend names; otherwise the board makes anonymous memory. */
  readonly backend?: MemoryBackendOptions;
  readonly plan: RamPlan;
  /** Content of the firmware's block. */
  readonly firmware?: Uint8Array;
  /** -machine aux-ram-share=on. */
  readonly shareAuxiliary: boolean;
  /** Descriptors that a process before this one handed over, by block name. */
  readonly adopt: (name: string) => Descriptor | undefined;
  readonly openPath: OpenPath;
}

/** The board's memory. */
export class MachineRam implements RamBlocks, Disposable {
  /** The guest's RAM. */
  readonly main: RamBlock;
  readonly firmware: RamBlock;
  /** In the order in which streams list them: largest first. */
  readonly blocks: readonly RamBlock[];
  readonly memory: GuestMemory;

  constructor(options: RamOptions) {
    const { plan } = options;
    using undo = new DisposableStack();
    const auxiliary = ({ name, length, maximum, resizable = false }: PlannedBlock) =>
      undo.use(createAuxiliaryBlock({
        name,
        usedLength: length,
        maximumLength: maximum,
        resizable,
        share: options.shareAuxiliary,
        adopted: options.adopt(name),
      }));
    const backend = options.backend ??
      { kind: "ram", id: plan.defaultName, size: options.size, share: false };
    this.main = undo.use(createMemoryBackend(backend, options.adopt(backend.id), options.openPath));
    const length = options.firmware?.length ?? plan.firmwareSize;
    this.firmware = auxiliary({ name: "pc.bios", length, maximum: length });
    this.blocks = [this.main, this.firmware, ...plan.blocks.map(auxiliary)]
      .toSorted((a, b) => b.maximumLength - a.maximumLength);
    this.memory = new GuestMemory(plan.layOut(this, options.size));
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

/** KVM's memory slots, one for each region. */
export class MemorySlots implements LoggedSlots {
  readonly #vm: KvmVm;
  readonly #memory: GuestMemory;
  readonly #listeners = new Set<SlotListener>();
  #flags = 0;

  /**
   * Sets the slots. Do it before the interrupt controllers are created: afterwards KVM waits some
   * milliseconds for each first change.
   */
  constructor(vm: KvmVm, memory: GuestMemory) {
    this.#vm = vm;
    this.#memory = memory;
    this.#setAll();
    memory.addView((slot, region) => this.#replace(slot, region));
  }

  /** The region of each slot; its index is the slot's number. */
  get regions(): readonly MemoryRegion[] {
    return this.#memory.regions;
  }

  addListener(listener: SlotListener): void {
    this.#listeners.add(listener);
  }

  /** Starts or stops recording which pages the guest writes. */
  logDirtyPages(on: boolean): void {
    this.#flags = on ? MemoryFlag.logDirtyPages : 0;
    this.#setAll();
  }

  #setAll(): void {
    this.regions.forEach((region, slot) => this.#set(slot, region, region.size));
  }

  /** KVM lets the memory of a slot change only by way of there being none. */
  #replace(slot: number, region: MemoryRegion): void {
    for (const { changing } of this.#listeners) changing();
    this.#set(slot, region, 0);
    this.#set(slot, region, region.size);
    for (const { changed } of this.#listeners) changed(slot, region);
  }

  #set(slot: number, region: MemoryRegion, size: number): void {
    this.#vm.setMemorySlot({
      slot,
      flags: size === 0 ? 0 : this.#flags | (region.readOnly ? MemoryFlag.readOnly : 0),
      guestAddress: region.address,
      size,
      hostAddress: region.block.mapping.address + BigInt(region.blockOffset),
    });
  }
}
