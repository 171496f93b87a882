/** The guest's physical memory: which RAM block answers at which address. */
import type { RamBlock } from "./ram_block.ts";

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
}

/** The guest touched, or a device was told to touch, something that is not RAM. */
export class GuestMemoryError extends Error {
  override readonly name = "GuestMemoryError";
  constructor(address: number, length: number) {
    super(`${length} bytes at guest address 0x${address.toString(16)} are not RAM`);
  }
}

/** All RAM of the guest. Addresses come from the guest, so every access is checked. */
export class GuestMemory {
  /** Sorted by address; regions do not overlap. */
  readonly regions: readonly MemoryRegion[];

  /** Bytes of RAM in all regions. */
  readonly size: number;

  constructor(regions: readonly MemoryRegion[]) {
    this.size = regions.reduce((sum, region) => sum + region.size, 0);
    this.regions = [...regions].sort((a, b) => a.address - b.address);
  }

  /** The memory itself, not a copy. Throws unless all of it is RAM in one piece. */
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
