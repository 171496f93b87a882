/** KVM's record of the pages that the guest wrote, moved to page bitmaps (ffi/dirty.c). */
import { layouts } from "./layouts.ts";
import { native } from "./library.ts";
import type { Fd } from "./descriptor.ts";
import { unwrap } from "./errors.ts";
import { holdAll } from "./handle.ts";
import { Mapping } from "./mapping.ts";
import type { PageBitmap } from "./pages.ts";
import { threads } from "./thread_pool.ts";

/** A memory slot and the pages of a block that it shows. */
export interface SlotPages {
  readonly slot: number;
  /** The block's page with which the slot begins. */
  readonly first: number;
  readonly count: number;
}

/** Adds a slot's dirty log to the block's bitmap. `scratch` has a bit for each page of the slot. */
export async function getDirtyLog(
  vm: Fd,
  { slot, first, count }: SlotPages,
  scratch: PageBitmap,
  bitmap: PageBitmap,
): Promise<void> {
  using _ = holdAll(scratch, bitmap);
  unwrap(
    await threads.molt_dirty_log_get(
      vm,
      slot,
      BigInt(count),
      scratch.address,
      bitmap.address,
      BigInt(first),
    ),
    () => `KVM_GET_DIRTY_LOG of slot ${slot} failed`,
  );
}

/** Clears those pages of [from, end) in a slot's dirty log that are set in the block's bitmap. */
export async function clearDirtyLog(
  vm: Fd,
  { slot, first, count }: SlotPages,
  bitmap: PageBitmap,
  from: number,
  end: number,
): Promise<void> {
  using _ = bitmap.hold();
  unwrap(
    await threads.molt_dirty_log_clear(
      vm,
      slot,
      BigInt(count),
      BigInt(first),
      bitmap.address,
      BigInt(from),
      BigInt(end),
    ),
    () => `KVM_CLEAR_DIRTY_LOG of slot ${slot} failed`,
  );
}

/** struct molt_dirty_ring and struct molt_dirty_slot in ffi/dirty.c. */
const { molt_dirty_ring: ringLayout, molt_dirty_slot: slotLayout } = layouts;
/** Bytes of a ring's entry (struct kvm_dirty_gfn). */
export const DIRTY_RING_ENTRY = 16;

/** The dirty rings of all vCPUs. */
export class DirtyRings implements Disposable {
  readonly #vm: Fd;
  readonly #rings: Mapping[];
  /** The structures for the C library: rings first, then slots. */
  readonly #table: Mapping;
  readonly #slotCount: number;

  /** Maps the rings of `vcpus`, each of `entries` entries. `slots` are where slots' pages belong. */
  constructor(
    vm: Fd,
    vcpus: readonly Fd[],
    entries: number,
    slots: readonly (SlotPages & { readonly bitmap: PageBitmap })[],
  ) {
    using undo = new DisposableStack();
    this.#vm = vm;
    this.#slotCount = slots.length;
    // KVM_DIRTY_LOG_PAGE_OFFSET pages into the vCPU's descriptor.
    const offset = 64 * 4096;
    this.#rings = vcpus.map((fd) =>
      undo.use(
        new Mapping(
          { kind: "file", fd, offset, shared: true },
          entries * DIRTY_RING_ENTRY,
          "a dirty ring",
        ),
      )
    );
    const size = ringLayout.sizeof * vcpus.length + slotLayout.sizeof * slots.length;
    this.#table = undo.use(
      new Mapping({ kind: "anonymous" }, Math.ceil(size / 4096) * 4096, "the dirty rings' table"),
    );
    const view = new DataView(this.#table.bytes.buffer);
    this.#rings.forEach((ring, i) => {
      const at = ringLayout.sizeof * i;
      view.setBigUint64(at + ringLayout.entries, ring.address, true);
      view.setUint32(at + ringLayout.size, entries, true);
    });
    for (const slot of slots) this.setSlot(slot);
    undo.move();
  }

  /** Pages of a slot belong elsewhere from now on. All entries of before must have been moved. */
  setSlot({ slot, bitmap, first, count }: SlotPages & { readonly bitmap: PageBitmap }): void {
    const view = new DataView(this.#table.bytes.buffer);
    const at = ringLayout.sizeof * this.#rings.length + slotLayout.sizeof * slot;
    view.setBigUint64(at + slotLayout.bitmap, bitmap.address, true);
    view.setBigUint64(at + slotLayout.first, BigInt(first), true);
    view.setBigUint64(at + slotLayout.pages, BigInt(count), true);
  }

  /** Moves all entries to the slots' bitmaps and returns how many there were. */
  harvest(): number {
    return unwrap(
      native.molt_dirty_rings_harvest(
        this.#vm,
        this.#table.address,
        this.#rings.length,
        this.#table.address + BigInt(ringLayout.sizeof * this.#rings.length),
        this.#slotCount,
      ),
      "KVM_RESET_DIRTY_RINGS failed",
    );
  }

  [Symbol.dispose](): void {
    for (const ring of this.#rings) ring[Symbol.dispose]();
    this.#table[Symbol.dispose]();
  }
}
