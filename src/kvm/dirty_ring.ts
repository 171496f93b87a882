/**
 * KVM's dirty rings (-accel kvm,dirty-ring-size=N): each vCPU lists the pages it writes. A vCPU whose
 * ring is full leaves the guest until the ring was emptied, so that one that writes much is slowed down.
 *
 * Emptying a ring has KVM watch its pages again, so pages go to bitmaps here at once and wait there
 * until they are collected.
 */
import type { MemoryRegion } from "../memory/guest_memory.ts";
import type { RamBlock } from "../memory/ram_block.ts";
import { PAGE_SIZE } from "../memory/ram_block.ts";
import { DirtyRings } from "../native/dirty.ts";
import { PageBitmap } from "../native/pages.ts";
import type { DirtyTracker, LoggedSlots } from "./dirty_tracker.ts";
import type { Vcpu } from "./vcpu.ts";
import type { KvmVm } from "./vm.ts";

/** Tracks by dirty rings. The capability was turned on before the vCPUs were created. */
export class DirtyRing implements DirtyTracker, Disposable {
  readonly #slots: LoggedSlots;
  readonly #waiting: ReadonlyMap<RamBlock, PageBitmap>;
  readonly #rings: DirtyRings;
  readonly #resources: DisposableStack;

  /** `entries`: of each vCPU's ring. */
  constructor(vm: KvmVm, vcpus: readonly Vcpu[], slots: LoggedSlots, entries: number) {
    using undo = new DisposableStack();
    this.#slots = slots;
    const waiting = new Map<RamBlock, PageBitmap>();
    const resources = undo.use(new DisposableStack());
    const place = ({ block, blockOffset, size }: MemoryRegion, slot: number) => {
      const bitmap = waiting.get(block) ??
        resources.use(new PageBitmap(block.maximumLength / PAGE_SIZE));
      waiting.set(block, bitmap);
      return { slot, bitmap, first: blockOffset / PAGE_SIZE, count: size / PAGE_SIZE };
    };
    this.#waiting = waiting;
    this.#rings = resources.use(
      new DirtyRings(vm.fd, vcpus.map(({ fd }) => fd), entries, slots.regions.map(place)),
    );
    slots.addListener({
      changing: () => this.#rings.harvest(),
      changed: (slot, region) => this.#rings.setSlot(place(region, slot)),
    });
    this.#resources = undo.move();
  }

  start(): void {
    for (const bitmap of this.#waiting.values()) bitmap.fill(false);
    this.#slots.logDirtyPages(true);
  }

  stop(): void {
    this.#slots.logDirtyPages(false);
    this.#rings.harvest();
  }

  collect(bitmaps: ReadonlyMap<RamBlock, PageBitmap>): Promise<void> {
    this.#rings.harvest();
    for (const [block, bitmap] of bitmaps) {
      const waiting = this.#waiting.get(block);
      if (waiting !== undefined) bitmap.takeFrom(waiting);
    }
    return Promise.resolve();
  }

  protect(): Promise<void> {
    return Promise.resolve();
  }

  emptyRings(): void {
    this.#rings.harvest();
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}
