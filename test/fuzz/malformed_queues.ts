/**
 * Queues as no driver should make them. A case is laid out in guest memory, and says what must come of
 * it: the device is broken, or it serves the request all the same, or either.
 */
import type { Random } from "../support/random.ts";

/** What the device must do. */
export type Outcome = "broken" | "served" | "either";

export const Flag = { next: 1, write: 2, indirect: 4 } as const;

/** A descriptor. */
export interface Descriptor {
  readonly address: bigint;
  readonly length: number;
  readonly flags: number;
  readonly next: number;
}

/** Where a queue's rings are. */
export interface Rings {
  readonly size: number;
  readonly table: number;
  readonly available: number;
  readonly used: number;
}

/** What a case is laid out in. */
export interface Ground {
  readonly random: Random;
  readonly rings: Rings;
  /** Bytes of RAM, from address 0. */
  readonly memorySize: number;
  /** Descriptors were negotiated to be put into tables of their own. */
  readonly indirect: boolean;
  /** Buffers of a request that the device would understand: [length, it writes there]. */
  readonly request: readonly (readonly [content: Uint8Array, written: boolean])[];
  /** Buffers that are sound and yet no request of the device. */
  readonly nonsense: readonly (readonly [content: Uint8Array, written: boolean])[] | undefined;
  /** Memory that nobody else uses. */
  allocate(length: number): number;
  write(address: number, bytes: Uint8Array): void;
}

/** A way to do it wrong. */
export interface Malformation {
  readonly name: string;
  /** Lays it out, to be found from the available ring's index 0 on. */
  readonly lay: (ground: Ground) => Outcome;
}

/** Writes a descriptor into a table. */
export function describe(
  ground: Ground,
  slot: number,
  { address, length, flags, next }: Descriptor,
  table = ground.rings.table,
): void {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt.asUintN(64, address), true);
  view.setUint32(8, length, true);
  view.setUint16(12, flags, true);
  view.setUint16(14, next, true);
  ground.write(table + 16 * slot, bytes);
}

/** Makes chains available that start at `heads`; `index`: what the driver says of how many there are. */
export function offer(ground: Ground, heads: readonly number[], index = heads.length): void {
  const { available, size } = ground.rings;
  heads.forEach((head, i) => ground.write(available + 4 + 2 * (i % size), u16(head)));
  ground.write(available + 2, u16(index));
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8);
}

/** The descriptors of a sound request, its content in memory. */
function chain(ground: Ground, buffers = ground.request, first = 0): Descriptor[] {
  return buffers.map(([content, written], i) => {
    const address = ground.allocate(content.length);
    if (!written) ground.write(address, content);
    const last = i === buffers.length - 1;
    return {
      address: BigInt(address),
      length: content.length,
      flags: (written ? Flag.write : 0) | (last ? 0 : Flag.next),
      next: last ? 0 : first + i + 1,
    };
  });
}

/** Lays out a request of which one descriptor is changed. */
function withChange(
  ground: Ground,
  change: (descriptor: Descriptor) => Descriptor,
  which = ground.random.below(ground.request.length),
): void {
  chain(ground).forEach((descriptor, slot) =>
    describe(ground, slot, slot === which ? change(descriptor) : descriptor)
  );
  offer(ground, [0]);
}

/** Lays out a request in a table of its own. */
function indirectly(
  ground: Ground,
  change: (table: Descriptor, descriptors: Descriptor[]) => Descriptor = (table) => table,
): void {
  const descriptors = chain(ground);
  const place = ground.allocate(16 * (descriptors.length + 2));
  const table = change({
    address: BigInt(place),
    length: 16 * descriptors.length,
    flags: Flag.indirect,
    next: 0,
  }, descriptors);
  descriptors.forEach((descriptor, slot) => describe(ground, slot, descriptor, place));
  describe(ground, 0, table);
  offer(ground, [0]);
}

/** A place that is not RAM, or not to its end. */
function outside({ random, memorySize }: Ground, length: number): bigint {
  return random.pick([
    () => BigInt(memorySize) - BigInt(random.below(length)),
    () => BigInt(memorySize) + BigInt(random.word()),
    () => (1n << 64n) - BigInt(random.between(1, length)),
    () => BigInt(random.word()) << 32n | 1n << 63n,
    () => 0xfeb00e00n + BigInt(random.below(512)),
  ])();
}

function orderMatters(ground: Ground): boolean {
  return ground.request.some(([, written]) => !written);
}

export const malformations: readonly Malformation[] = [
  {
    name: "a chain that comes back to itself",
    lay: (ground) => {
      const { random, rings } = ground;
      const length = random.between(1, rings.size);
      const written = random.chance(2);
      for (let i = 0; i < length; i++) {
        describe(ground, i, {
          address: BigInt(ground.allocate(16)),
          length: 16,
          flags: Flag.next | (written ? Flag.write : 0),
          next: i === length - 1 ? random.below(length) : i + 1,
        });
      }
      offer(ground, [random.below(length)]);
      return "broken";
    },
  },
  {
    name: "a table of its own that comes back to itself",
    lay: (ground) => {
      indirectly(ground, (table, descriptors) => {
        const which = ground.random.below(descriptors.length);
        const descriptor = descriptors[which];
        if (descriptor) {
          descriptors[which] = { ...descriptor, flags: descriptor.flags | Flag.next, next: which };
        }
        return table;
      });
      return "broken";
    },
  },
  {
    name: "a next descriptor outside the table",
    lay: (ground) => {
      const { random, rings } = ground;
      withChange(ground, (descriptor) => ({
        ...descriptor,
        flags: descriptor.flags | Flag.next,
        next: random.between(rings.size, 0xffff),
      }));
      return "broken";
    },
  },
  {
    name: "a next descriptor outside a table of its own",
    lay: (ground) => {
      indirectly(ground, (table, descriptors) => {
        const which = ground.random.below(descriptors.length);
        const descriptor = descriptors[which];
        if (descriptor) {
          descriptors[which] = {
            ...descriptor,
            flags: descriptor.flags | Flag.next,
            next: ground.random.between(descriptors.length, 0xffff),
          };
        }
        return table;
      });
      return "broken";
    },
  },
  {
    name: "a chain that starts outside the table",
    lay: (ground) => {
      offer(ground, [ground.random.between(ground.rings.size, 0xffff)]);
      return "broken";
    },
  },
  {
    name: "a buffer outside RAM",
    lay: (ground) => {
      withChange(ground, (descriptor) => ({
        ...descriptor,
        address: outside(ground, descriptor.length),
      }));
      return "broken";
    },
  },
  {
    name: "a buffer that is larger than RAM",
    lay: (ground) => {
      const { random, memorySize } = ground;
      withChange(ground, (descriptor) => ({
        ...descriptor,
        length: random.pick([0xffffffff, 0x80000000, memorySize + 1, memorySize * 2]),
      }));
      return "broken";
    },
  },
  {
    name: "a buffer without length",
    lay: (ground) => {
      withChange(ground, (descriptor) => ({ ...descriptor, length: 0 }));
      return "broken";
    },
  },
  {
    name: "a buffer to be read after one to be written",
    lay: (ground) => {
      const wrong = [
        [new Uint8Array(8), true],
        ...(orderMatters(ground) ? ground.request : [[new Uint8Array(8), false] as const]),
      ] as const;
      chain(ground, wrong).forEach((descriptor, slot) => describe(ground, slot, descriptor));
      offer(ground, [0]);
      return "broken";
    },
  },
  {
    name: "a table of its own of odd length",
    lay: (ground) => {
      const { random } = ground;
      indirectly(ground, (table) => ({
        ...table,
        length: random.pick([0, random.between(1, 15), table.length + random.between(1, 15)]),
      }));
      return "broken";
    },
  },
  {
    name: "a table of its own outside RAM",
    lay: (ground) => {
      indirectly(ground, (table) => ({ ...table, address: outside(ground, table.length) }));
      return "broken";
    },
  },
  {
    name: "a table of its own that is larger than RAM",
    lay: (ground) => {
      indirectly(ground, (table) => ({
        ...table,
        length: ground.random.pick([0xfffffff0, 0x80000000]),
      }));
      return "broken";
    },
  },
  {
    name: "a table within a table",
    lay: (ground) => {
      indirectly(ground, (table, descriptors) => {
        const inner = ground.allocate(64);
        const which = ground.random.below(descriptors.length);
        descriptors[which] = { address: BigInt(inner), length: 16, flags: Flag.indirect, next: 0 };
        return table;
      });
      return "broken";
    },
  },
  {
    name: "a table that is itself",
    lay: (ground) => {
      describe(ground, 0, {
        address: BigInt(ground.rings.table),
        length: 16 * ground.rings.size,
        flags: Flag.indirect,
        next: 0,
      });
      offer(ground, [0]);
      return "broken";
    },
  },
  {
    name: "more requests than entries",
    lay: (ground) => {
      const { random, rings } = ground;
      withChange(ground, (descriptor) => descriptor);
      offer(ground, [0], random.between(rings.size + 1, 0xffff));
      return "broken";
    },
  },
  {
    name: "a sound chain that is no request",
    lay: (ground) => {
      if (ground.nonsense === undefined) {
        withChange(ground, (descriptor) => descriptor);
        return "served";
      }
      chain(ground, ground.nonsense).forEach((descriptor, slot) =>
        describe(ground, slot, descriptor)
      );
      offer(ground, [0]);
      return "broken";
    },
  },
  {
    name: "unknown flags, and a next descriptor that nobody asks for",
    lay: (ground) => {
      const { random } = ground;
      const junk = random.word() & 0xfff8;
      const last = ground.request.length - 1;
      withChange(
        ground,
        (descriptor) => ({
          ...descriptor,
          flags: descriptor.flags | junk,
          next: random.word() & 0xffff,
        }),
        last,
      );
      return "served";
    },
  },
  {
    name: "a table of its own and a next descriptor",
    lay: (ground) => {
      indirectly(ground, (table) => ({
        ...table,
        flags: table.flags | Flag.next | (ground.random.chance(2) ? Flag.write : 0),
        next: ground.random.word() & 0xffff,
      }));
      return "either";
    },
  },
  {
    name: "the same chain again and again",
    lay: (ground) => {
      withChange(ground, (descriptor) => descriptor);
      offer(ground, new Array<number>(ground.rings.size).fill(0));
      return "either";
    },
  },
  {
    name: "buffers that are the rings",
    lay: (ground) => {
      const { random, rings } = ground;
      withChange(ground, (descriptor) => ({
        ...descriptor,
        address: BigInt(random.pick([rings.table, rings.available, rings.used])),
      }));
      return "either";
    },
  },
  {
    name: "random descriptors",
    lay: (ground) => {
      const { random, rings, memorySize } = ground;
      const slots = Math.min(rings.size, 8);
      for (let slot = 0; slot < slots; slot++) {
        describe(ground, slot, {
          address: BigInt(random.below(memorySize + 4096)),
          length: random.pick([random.below(64), random.below(70_000), random.word()]),
          flags: random.below(8),
          next: random.below(slots + 1),
        });
      }
      offer(ground, Array.from({ length: random.between(1, 4) }, () => random.below(slots)));
      return "either";
    },
  },
  {
    name: "random bytes everywhere",
    lay: (ground) => {
      const { random, rings } = ground;
      ground.write(rings.table, random.bytes(16 * rings.size));
      ground.write(rings.available, random.bytes(6 + 2 * rings.size));
      ground.write(rings.used, random.bytes(6 + 8 * rings.size));
      return "either";
    },
  },
];

/** Cases that only need the indirect feature. */
export function usesTables({ name }: Malformation): boolean {
  return name.includes("table of its own") || name.includes("a table");
}

/** Whether a sound request in a table of its own is refused: the feature was not negotiated. */
export function layRefusedTable(ground: Ground): Outcome {
  indirectly(ground);
  return ground.indirect ? "served" : "broken";
}
