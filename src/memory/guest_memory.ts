/** The guest's physical memory: which RAM block answers at which address. */
import type { PageBitmap } from "../native/pages.ts";
import { PAGE_SIZE, type RamBlock } from "./ram_block.ts";

/** An address in the guest's physical memory. */
declare const brand: unique symbol;
export type GuestAddress = number & { readonly [brand]: "GuestAddress" };

/** A piece of a block at a place in the guest's address space. */
export interface MemoryRegion {
  readonly address: number;
  readonly size: number;
  readonly block: RamBlock;
  /** Where the piece starts in the block. */
  readonly blockOffset: number;
  /** The guest's writes go to whoever answers on the bus instead. Absent: false. */
  readonly readOnly?: boolean;
}

/** What is to be seen at the place of a region from now on. */
export type RegionContent = Pick<MemoryRegion, "block" | "blockOffset" | "readOnly">;

/** Shows regions to somebody: a hypervisor, threads of devices. */
export type RegionView = (index: number, region: MemoryRegion) => void;

/** The guest touched, or a device was asked to touch, something that is not RAM. */
export class GuestMemoryError extends Error {
  override readonly name = "GuestMemoryError";
  constructor(address: number, length: number) {
    super(`${length} bytes at guest address 0x${address.toString(16)} are not RAM`);
  }
}

/**
 * Bitmaps of the blocks in which devices set the pages they write, atomically and from any thread;
 * `undefined` while nobody wants to know.
 */
export type DeviceWriteBitmaps = ReadonlyMap<RamBlock, PageBitmap> | undefined;

/**
 * All RAM of the guest. Addresses come from the guest, so every access is checked. Where regions are stays;
 * what is seen there may change while the machine runs, as chipsets change the first mebibyte.
 */
export class GuestMemory {
  readonly #regions: MemoryRegion[];

  /** Bytes of RAM in all regions. */
  readonly size: number;

  readonly #views = new Set<RegionView>();

  #deviceWrites: DeviceWriteBitmaps;
  readonly #writers = new Set<(bitmaps: DeviceWriteBitmaps) => void>();

  constructor(regions: readonly MemoryRegion[]) {
    this.size = regions.reduce((sum, region) => sum + region.size, 0);
    this.#regions = [...regions].sort((a, b) => a.address - b.address);
  }

  /** Sorted by address; regions do not overlap. Each keeps its index, address and size. */
  get regions(): readonly MemoryRegion[] {
    return this.#regions;
  }

  /** Notifies whoever shows regions elsewhere of each change. */
  addView(view: RegionView): Disposable {
    this.#views.add(view);
    return { [Symbol.dispose]: () => void this.#views.delete(view) };
  }

  /**
   * Shows other content at the place of the region that starts at `address`. No processor may run. For a live
   * migration all pages that were and are seen there count as written: nobody knows which of them were.
   */
  remap(address: number, content: RegionContent): void {
    const index = this.#regions.findIndex((region) => region.address === address);
    const old = this.#regions[index];
    if (old === undefined) throw new RangeError(`no region starts at 0x${address.toString(16)}`);
    const { block, blockOffset, readOnly = false } = content;
    const same = old.block === block && old.blockOffset === blockOffset &&
      (old.readOnly ?? false) === readOnly;
    if (same) return;
    if (blockOffset + old.size > block.maximumLength) {
      throw new RangeError(`'${block.name}' ends before the region at 0x${address.toString(16)}`);
    }
    this.markDirty(address, old.size);
    const region = { address, size: old.size, block, blockOffset, readOnly };
    this.#regions[index] = region;
    for (const view of this.#views) view(index, region);
    this.markDirty(address, old.size);
  }

  /**
   * Has devices record the pages they write, or ends that. When it returns, bitmaps given before are
   * not used any more.
   */
  recordDeviceWrites(bitmaps: DeviceWriteBitmaps): void {
    this.#deviceWrites = bitmaps;
    for (const writer of this.#writers) writer(bitmaps);
  }

  /** Notifies whoever writes memory on other threads what to record, now and at each change. */
  addWriter(writer: (bitmaps: DeviceWriteBitmaps) => void): Disposable {
    this.#writers.add(writer);
    writer(this.#deviceWrites);
    return { [Symbol.dispose]: () => void this.#writers.delete(writer) };
  }

  /** Says that a device has written to these addresses through a view. Those that are not RAM do not count. */
  markDirty(address: number, length: number): void {
    if (this.#deviceWrites === undefined) return;
    for (const region of this.regions) {
      const start = Math.max(address, region.address);
      const end = Math.min(address + length, region.address + region.size);
      if (start >= end) continue;
      const offset = region.blockOffset - region.address;
      this.#deviceWrites.get(region.block)?.setAtomically(
        Math.floor((start + offset) / PAGE_SIZE),
        Math.ceil((end + offset) / PAGE_SIZE),
      );
    }
  }

  /** The memory itself, not a copy. Throws unless all of it is RAM in one piece. Whoever writes to it says so by {@linkcode markDirty}. */
  view(address: number, length: number): Uint8Array<ArrayBuffer> {
    for (const region of this.regions) {
      const offset = address - region.address;
      if (offset >= 0 && offset < region.size) {
        if (length > region.size - offset) break;
        const start = region.blockOffset + offset;
        return region.block.mapping.bytes.subarray(start, start + length);
      }
    }
    throw new GuestMemoryError(address, length);
  }

  /** A copy of `length` bytes, which may lie in several pieces. */
  read(address: number, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    this.#forEachPiece(address, length, (piece, at) => bytes.set(piece, at));
    return bytes;
  }

  /** Writes bytes, or nothing if some of them would not go to RAM. */
  write(address: number, bytes: Uint8Array): void {
    const pieces: [Uint8Array, number][] = [];
    this.#forEachPiece(address, bytes.length, (piece, at) => pieces.push([piece, at]));
    for (const [piece, at] of pieces) piece.set(bytes.subarray(at, at + piece.length));
    this.markDirty(address, bytes.length);
  }

  #forEachPiece(
    address: number,
    length: number,
    visit: (piece: Uint8Array<ArrayBuffer>, at: number) => void,
  ): void {
    let done = 0;
    while (done < length) {
      const here = address + done;
      const region = this.regions.find((r) => here >= r.address && here < r.address + r.size);
      if (!region) throw new GuestMemoryError(address, length);
      const count = Math.min(length - done, region.address + region.size - here);
      visit(this.view(here, count), done);
      done += count;
    }
  }
}
