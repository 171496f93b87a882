/**
 * KVM's dirty log: a bitmap for each memory slot.
 *
 *   start     every write is recorded from now on
 *   collect   what was recorded goes to the blocks' bitmaps
 *   protect   KVM forgets pages that are about to be read, and watches for the next write to them
 *   stop
 *
 * With KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, collecting leaves the log as it is and protecting is done
 * piece by piece, so that the guest is held up shortly; where KVM offers it, all pages count as
 * dirty at the start and nothing has to be protected then. Without the capability, collecting does both.
 */
import type { MemoryRegion } from "../memory/guest_memory.ts";
import type { RamBlock } from "../memory/ram_block.ts";
import { PAGE_SIZE } from "../memory/ram_block.ts";
import { clearDirtyLog, getDirtyLog, type SlotPages } from "../native/dirty.ts";
import { PageBitmap } from "../native/pages.ts";
import { Capability } from "./constants.ts";
import type { DirtyTracker, LoggedSlots } from "./dirty_tracker.ts";
import type { Kvm } from "./kvm.ts";
import type { KvmVm } from "./vm.ts";

/** KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE and KVM_DIRTY_LOG_INITIALLY_SET. */
const MANUAL_PROTECT = 1;

/** Tracks by the dirty log. */
export class DirtyLog implements DirtyTracker {
  readonly #vm: KvmVm;
  readonly #slots: LoggedSlots;
  /** The flags of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 that are used; 0: collecting also protects. */
  readonly #manual: number;
  #enabled = false;

  /** `manual` for tests: the flags to use of those that KVM offers. */
  constructor(kvm: Kvm, vm: KvmVm, slots: LoggedSlots, manual?: number) {
    this.#vm = vm;
    this.#slots = slots;
    const offered = kvm.capability(Capability.manualDirtyLogProtect);
    this.#manual = manual === undefined ? offered : offered & manual;
  }

  start(): void {
    if (!this.#enabled && this.#manual !== 0) {
      this.#vm.enableCapability(Capability.manualDirtyLogProtect, this.#manual);
      this.#enabled = true;
    }
    this.#slots.logDirtyPages(true);
  }

  stop(): void {
    this.#slots.logDirtyPages(false);
  }

  async collect(bitmaps: ReadonlyMap<RamBlock, PageBitmap>): Promise<void> {
    for (const [slot, region] of this.#slots.regions.entries()) {
      const bitmap = bitmaps.get(region.block);
      if (bitmap === undefined) continue;
      const pages = pagesOf(slot, region);
      using scratch = new PageBitmap(pages.count);
      await getDirtyLog(this.#vm.fd, pages, scratch, bitmap);
      // The slot shows other memory meanwhile: what was collected may have been that one's.
      const now = this.#slots.regions[slot];
      if (now !== undefined && now !== region) {
        const { first, count } = pagesOf(slot, now);
        bitmaps.get(now.block)?.setAtomically(first, first + count);
      }
    }
  }

  async protect(block: RamBlock, bitmap: PageBitmap, first: number, end: number): Promise<void> {
    if ((this.#manual & MANUAL_PROTECT) === 0) return;
    for (const [slot, region] of this.#slots.regions.entries()) {
      const pages = pagesOf(slot, region);
      if (region.block !== block || end <= pages.first || first >= pages.first + pages.count) {
        continue;
      }
      await clearDirtyLog(this.#vm.fd, pages, bitmap, first, end);
    }
  }

  emptyRings(): void {}
}

function pagesOf(slot: number, region: MemoryRegion): SlotPages {
  return {
    slot,
    first: region.blockOffset / PAGE_SIZE,
    count: region.size / PAGE_SIZE,
  };
}
