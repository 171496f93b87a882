/** I/O ports and memory-mapped registers: which device answers an access. */
import type { AccessSize, RegisterRegion } from "../devices/device.ts";

/** A region at its place. */
export interface MappedRegion {
  /** What `info mtree` calls it. */
  readonly name: string;
  readonly start: number;
  readonly length: number;
  readonly region: RegisterRegion;
}

const ALL_ONES = { 1: 0xff, 2: 0xffff, 4: 0xffffffff } as const;

/** One address space of registers. Where no device answers, writes are lost. */
export class Bus {
  readonly #regions: MappedRegion[] = [];
  readonly #absent: "zeros" | "ones";
  #last: MappedRegion | undefined;

  /** `absent`: what is read where no device answers. In QEMU ports give ones, memory zeros. */
  constructor(absent: "zeros" | "ones") {
    this.#absent = absent;
  }

  /** Regions in address order. */
  get regions(): readonly MappedRegion[] {
    return this.#regions;
  }

  /** Puts a device's registers at `start`. Throws if they overlap another's. */
  map(name: string, start: number, length: number, region: RegisterRegion): void {
    const overlapping = this.#regions.find((r) =>
      start < r.start + r.length && r.start < start + length
    );
    if (overlapping) {
      throw new Error(`${name} at 0x${start.toString(16)} overlaps ${overlapping.name}`);
    }
    this.#regions.push({ name, start, length, region });
    this.#regions.sort((a, b) => a.start - b.start);
  }

  /** An access of 1, 2 or 4 bytes; one that crosses a region's end is answered byte by byte. */
  read(address: number, size: AccessSize): number {
    const mapped = this.#find(address);
    if (mapped === undefined) return this.#absent === "ones" ? ALL_ONES[size] : 0;
    const offset = address - mapped.start;
    if (offset + size <= mapped.length) return mapped.region.read(offset, size) >>> 0;
    let value = 0;
    for (let i = 0; i < size; i++) value += this.read(address + i, 1) * 2 ** (8 * i);
    return value;
  }

  write(address: number, size: AccessSize, value: number): void {
    const mapped = this.#find(address);
    if (mapped === undefined) return;
    const offset = address - mapped.start;
    if (offset + size <= mapped.length) {
      mapped.region.write(offset, size, value);
      return;
    }
    for (let i = 0; i < size; i++) this.write(address + i, 1, (value >>> (8 * i)) & 0xff);
  }

  #find(address: number): MappedRegion | undefined {
    const last = this.#last;
    if (last && address >= last.start && address < last.start + last.length) return last;
    for (const mapped of this.#regions) {
      if (address >= mapped.start && address < mapped.start + mapped.length) {
        this.#last = mapped;
        return mapped;
      }
    }
    return undefined;
  }
}
