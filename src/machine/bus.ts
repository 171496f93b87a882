/** I/O ports and memory-mapped registers: which device answers an access. */
import type {
  AccessSize,
  Placement,
  PlacementOptions,
  RegisterRegion,
  RegisterSpace,
} from "../devices/device.ts";

/** A piece of a region that answers at its place. */
export interface MappedRegion {
  /** What `info mtree` calls it. */
  readonly name: string;
  readonly start: number;
  readonly length: number;
  readonly region: RegisterRegion;
  /** The region's offset at `start`. */
  readonly offset: number;
}

/** A region as it was placed; others may cover it. */
interface Placed extends MappedRegion {
  readonly priority: number;
}

const ALL_ONES = { 1: 0xff, 2: 0xffff, 4: 0xffffffff } as const;

/** One address space of registers. Where no device answers, writes are lost. */
export class Bus implements RegisterSpace {
  /** The higher in priority, the later; of equals, the last placed is the last. */
  #placed: Placed[] = [];
  /** What answers, in address order, without overlaps. */
  #regions: readonly MappedRegion[] = [];
  readonly #absent: "zeros" | "ones";
  #last: MappedRegion | undefined;

  /** `absent`: what is read where no device answers. In QEMU ports give ones, memory zeros. */
  constructor(absent: "zeros" | "ones") {
    this.#absent = absent;
  }

  /** What answers, in address order. */
  get regions(): readonly MappedRegion[] {
    return this.#regions;
  }

  map(
    name: string,
    start: number,
    length: number,
    region: RegisterRegion,
    options: PlacementOptions = {},
  ): Placement {
    const { priority = 0 } = options;
    const overlapping = this.#placed.find((r) =>
      r.priority === priority && start < r.start + r.length && r.start < start + length
    );
    if (overlapping) {
      throw new Error(`${name} at 0x${start.toString(16)} overlaps ${overlapping.name}`);
    }
    return this.place(name, start, length, region, options);
  }

  place(
    name: string,
    start: number,
    length: number,
    region: RegisterRegion,
    { priority = 0, offset = 0 }: PlacementOptions = {},
  ): Placement {
    let placed: Placed | undefined = { name, start, length, region, offset, priority };
    this.#change(undefined, placed);
    const current = () => {
      if (placed === undefined) throw new Error(`${name} is not in the address space any more`);
      return placed;
    };
    return {
      get start() {
        return current().start;
      },
      get length() {
        return current().length;
      },
      move: (to, newLength = current().length) => {
        const moved = { ...current(), start: to, length: newLength };
        this.#change(placed, moved);
        placed = moved;
      },
      [Symbol.dispose]: () => {
        if (placed !== undefined) this.#change(placed, undefined);
        placed = undefined;
      },
    };
  }

  /** An access of 1, 2 or 4 bytes; one that crosses a region's end is answered byte by byte. */
  read(address: number, size: AccessSize): number {
    const mapped = this.#find(address);
    if (mapped === undefined) {
      if (this.#isEmpty(address, size)) return this.#absent === "ones" ? ALL_ONES[size] : 0;
      return this.#readBytes(address, size);
    }
    const at = address - mapped.start;
    if (at + size <= mapped.length) return mapped.region.read(mapped.offset + at, size) >>> 0;
    return this.#readBytes(address, size);
  }

  write(address: number, size: AccessSize, value: number): void {
    const mapped = this.#find(address);
    if (mapped === undefined && this.#isEmpty(address, size)) return;
    const at = mapped === undefined ? 0 : address - mapped.start;
    if (mapped !== undefined && at + size <= mapped.length) {
      mapped.region.write(mapped.offset + at, size, value);
      return;
    }
    for (let i = 0; i < size; i++) this.write(address + i, 1, (value >>> (8 * i)) & 0xff);
  }

  /** An access of eight bytes. */
  read64(address: number): bigint {
    const mapped = this.#find(address);
    const at = mapped === undefined ? 0 : address - mapped.start;
    if (mapped?.region.read64 !== undefined && at + 8 <= mapped.length) {
      return BigInt.asUintN(64, mapped.region.read64(mapped.offset + at));
    }
    const low = this.read(address, 4);
    return BigInt(this.read(address + 4, 4)) << 32n | BigInt(low);
  }

  write64(address: number, value: bigint): void {
    const mapped = this.#find(address);
    const at = mapped === undefined ? 0 : address - mapped.start;
    if (mapped?.region.write64 !== undefined && at + 8 <= mapped.length) {
      mapped.region.write64(mapped.offset + at, value);
      return;
    }
    this.write(address, 4, Number(BigInt.asUintN(32, value)));
    this.write(address + 4, 4, Number(BigInt.asUintN(32, value >> 32n)));
  }

  #readBytes(address: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value += this.read(address + i, 1) * 2 ** (8 * i);
    return value;
  }

  /** Nothing answers at any of the bytes; the first one's is known. */
  #isEmpty(address: number, size: AccessSize): boolean {
    return size === 1 || this.#find(address + size - 1) === undefined;
  }

  #find(address: number): MappedRegion | undefined {
    const last = this.#last;
    if (last && address >= last.start && address < last.start + last.length) return last;
    let low = 0;
    let high = this.#regions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const mapped = this.#regions[middle];
      if (mapped === undefined || address < mapped.start) high = middle;
      else if (address >= mapped.start + mapped.length) low = middle + 1;
      else return this.#last = mapped;
    }
    return undefined;
  }

  #change(from: Placed | undefined, to: Placed | undefined): void {
    const placed = this.#placed.filter((other) => other !== from);
    if (to !== undefined) {
      const above = placed.findIndex(({ priority }) => priority > to.priority);
      placed.splice(above < 0 ? placed.length : above, 0, to);
    }
    this.#placed = placed;
    this.#regions = visible(placed);
    this.#last = undefined;
  }
}

/** What is seen of regions of which each covers those before it. */
function visible(placed: readonly Placed[]): MappedRegion[] {
  let seen: MappedRegion[] = [];
  for (const { name, start, length, region, offset } of placed) {
    const end = start + length;
    if (length <= 0) continue;
    seen = seen.flatMap((other) => {
      const otherEnd = other.start + other.length;
      if (otherEnd <= start || other.start >= end) return [other];
      const pieces: MappedRegion[] = [];
      if (other.start < start) pieces.push({ ...other, length: start - other.start });
      if (otherEnd > end) {
        const cut = end - other.start;
        pieces.push({ ...other, start: end, length: otherEnd - end, offset: other.offset + cut });
      }
      return pieces;
    });
    seen.push({ name, start, length, region, offset });
  }
  return seen.sort((a, b) => a.start - b.start);
}
