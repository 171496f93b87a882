/** Guest RAM as device threads of the C library see it (ffi/virtio_memory.c). */
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";

/** A piece of guest-physical memory that is RAM, in one piece of this process's memory. */
export interface DeviceMemoryRegion {
  readonly guestAddress: number;
  /** Bytes. */
  readonly size: number;
  readonly hostAddress: bigint;
  /** Its first page's number in its block. */
  readonly firstPage: number;
}

/** The guest's RAM for devices. It must outlive the queues that use it. */
export class DeviceMemory implements Disposable {
  readonly handle: bigint;

  constructor(regions: readonly DeviceMemoryRegion[]) {
    const table = new BigUint64Array(4 * regions.length);
    regions.forEach((region, i) =>
      table.set([
        BigInt(region.guestAddress),
        BigInt(region.size),
        region.hostAddress,
        BigInt(region.firstPage),
      ], 4 * i)
    );
    this.handle = BigInt(unwrap(
      native.molt_memory_create(new Uint8Array(table.buffer), regions.length),
      "Could not describe the guest's memory to its devices",
    ));
  }

  /**
   * Pages of region `index` that devices write from now on are set in the page bitmap at host address
   * `bitmap`, which covers the region's block; 0 ends that, and the bitmap is free then.
   */
  watchWrites(index: number, bitmap: bigint): void {
    native.molt_memory_watch(this.handle, index, bitmap);
  }

  /** A device wrote `length` bytes at guest address `address`. Costs nothing while nobody watches. */
  markWritten(address: number, length: number): void {
    native.molt_memory_mark_range(this.handle, BigInt(address), BigInt(length));
  }

  [Symbol.dispose](): void {
    native.molt_memory_destroy(this.handle);
  }
}
