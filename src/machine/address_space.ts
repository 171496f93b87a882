/**
 * The guest's physical address space as the board sees it: RAM and device registers behind one
 * address, with QEMU's rules where an access meets neither or crosses their borders.
 */
import type { AccessSize } from "../devices/device.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import type { Bus } from "./bus.ts";

/** What lies at an address, and how far it reaches. */
interface Extent {
  readonly kind: "ram" | "registers" | "nothing";
  /** First address after it. */
  readonly end: number;
}

/** RAM and registers together. Addresses and lengths are in bytes. */
export class AddressSpace {
  readonly #ram: GuestMemory | undefined;
  readonly #registers: Bus;

  /** `ram` is absent on a board without memory. */
  constructor(ram: GuestMemory | undefined, registers: Bus) {
    this.#ram = ram;
    this.#registers = registers;
  }

  /** A copy of what is there. Where there is nothing, it reads as zeros. */
  read(address: number, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    this.#forEachExtent(address, length, (kind, from, count) => {
      const piece = bytes.subarray(from - address, from - address + count);
      if (kind === "ram" && this.#ram) piece.set(this.#ram.read(from, count));
      if (kind === "registers") this.#readRegisters(from, piece);
    });
    return bytes;
  }

  /** Writes `bytes`. What falls where nothing is gets lost. */
  write(address: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#forEachExtent(address, bytes.length, (kind, from, count) => {
      const piece = bytes.subarray(from - address, from - address + count);
      if (kind === "ram") this.#ram?.write(from, piece);
      if (kind === "registers") this.#writeRegisters(from, piece);
    });
  }

  /** Writes `value` to every byte of a range of any length. */
  fill(address: number, length: number, value: number): void {
    const PIECE = 1 << 20;
    const pattern = new Uint8Array(Math.min(length, PIECE)).fill(value);
    this.#forEachExtent(address, length, (kind, from, count) => {
      if (kind === "nothing") return;
      for (let done = 0; done < count; done += PIECE) {
        const piece = pattern.subarray(0, Math.min(PIECE, count - done));
        if (kind === "ram") this.#ram?.write(from + done, piece);
        else this.#writeRegisters(from + done, piece);
      }
    });
  }

  #readRegisters(address: number, into: Uint8Array<ArrayBuffer>): void {
    const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
    if (isWide(address, into.length)) {
      view.setBigUint64(0, this.#registers.read64(address), true);
      return;
    }
    for (let done = 0; done < into.length;) {
      const size = accessSize(address + done, into.length - done);
      const value = this.#registers.read(address + done, size);
      if (size === 1) view.setUint8(done, value);
      else if (size === 2) view.setUint16(done, value, true);
      else view.setUint32(done, value, true);
      done += size;
    }
  }

  #writeRegisters(address: number, bytes: Uint8Array<ArrayBuffer>): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (isWide(address, bytes.length)) {
      this.#registers.write64(address, view.getBigUint64(0, true));
      return;
    }
    for (let done = 0; done < bytes.length;) {
      const size = accessSize(address + done, bytes.length - done);
      const value = size === 1
        ? view.getUint8(done)
        : size === 2
        ? view.getUint16(done, true)
        : view.getUint32(done, true);
      this.#registers.write(address + done, size, value);
      done += size;
    }
  }

  #forEachExtent(
    address: number,
    length: number,
    visit: (kind: Extent["kind"], from: number, count: number) => void,
  ): void {
    const end = address + length;
    for (let from = address; from < end;) {
      const extent = this.#extentAt(from);
      const count = Math.min(end, extent.end) - from;
      visit(extent.kind, from, count);
      from += count;
    }
  }

  #extentAt(address: number): Extent {
    let end = Infinity;
    for (const region of this.#ram?.regions ?? []) {
      const { address: start, size } = region;
      if (address >= start && address < start + size) return { kind: "ram", end: start + size };
      if (start > address) end = Math.min(end, start);
    }
    for (const { start, length } of this.#registers.regions) {
      const last = start + length;
      if (address >= start && address < last) return { kind: "registers", end: last };
      if (start > address) end = Math.min(end, start);
    }
    return { kind: "nothing", end };
  }
}

/** One access of eight bytes, as readq and writeq make it. */
function isWide(address: number, length: number): boolean {
  return length === 8 && address % 8 === 0;
}

/** The widest access that is aligned and no longer than what is left. */
function accessSize(address: number, left: number): AccessSize {
  if (left >= 4 && address % 4 === 0) return 4;
  return left >= 2 && address % 2 === 0 ? 2 : 1;
}
