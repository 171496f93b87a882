/** Guest RAM as device threads of the C library see it (ffi/virtio_memory.c). */
import { layouts } from "./layouts.ts";
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import { NativeHandle } from "./handle.ts";

/** A piece of guest-physical memory that is RAM, in one piece of this process's memory. */
export interface DeviceMemoryRegion {
  readonly guestAddress: number;
  /** Bytes. */
  readonly size: number;
  readonly hostAddress: bigint;
}

const layout = layouts.molt_memory_region;

/** The guest's RAM for device threads. It must outlive the queues that use it. */
export class DeviceMemory implements Disposable {
  readonly #handle: NativeHandle;

  constructor(regions: readonly DeviceMemoryRegion[]) {
    const table = new Uint8Array(layout.sizeof * regions.length);
    const view = new DataView(table.buffer);
    regions.forEach(({ guestAddress, size, hostAddress }, i) => {
      const at = layout.sizeof * i;
      view.setBigUint64(at + layout.guest, BigInt(guestAddress), true);
      view.setBigUint64(at + layout.size, BigInt(size), true);
      view.setBigUint64(at + layout.host, hostAddress, true);
    });
    this.#handle = new NativeHandle(
      "the devices' view of memory",
      unwrap(
        native.molt_memory_create(table, regions.length),
        "Could not describe the guest's memory to its devices",
      ),
      native.molt_memory_destroy,
    );
  }

  get handle(): bigint {
    return this.#handle.value;
  }

  /** Region `index` shows other memory of this process from now on, of the same size. */
  moveRegion(index: number, hostAddress: bigint): void {
    native.molt_memory_move(this.handle, index, hostAddress);
  }

  /**
   * Pages of region `index` that devices write from now on are set in the page bitmap at host address
   * `bitmap`, in which the region starts at page `first`. 0 ends that: a bitmap given before is not used
   * any more.
   */
  recordWrites(index: number, bitmap: bigint, first: number): void {
    native.molt_memory_record(this.handle, index, bitmap, BigInt(first));
  }

  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}
