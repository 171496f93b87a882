import { assertEquals, assertThrows } from "@std/assert";
import type { AccessSize, RegisterRegion } from "../../../src/devices/device.ts";
import { SharedLine } from "../../../src/devices/shared_line.ts";
import { Bus } from "../../../src/machine/bus.ts";

/** Reads as `value` in every byte, and notes what is asked of it. */
class Region implements RegisterRegion {
  readonly accesses: string[] = [];
  constructor(readonly value: number) {}

  read(offset: number, size: AccessSize): number {
    this.accesses.push(`read ${offset} ${size}`);
    return Number(BigInt.asUintN(8 * size, 0x01010101n * BigInt(this.value)));
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.accesses.push(`write ${offset} ${size} 0x${value.toString(16)}`);
  }
}

/** Takes eight bytes at once. */
class WideRegion extends Region {
  read64(offset: number): bigint {
    this.accesses.push(`read ${offset} 8`);
    return 0x1122334455667788n;
  }

  write64(offset: number, value: bigint): void {
    this.accesses.push(`write ${offset} 8 0x${value.toString(16)}`);
  }
}

Deno.test("a region is found at its place, at its new place, and not any more", () => {
  const bus = new Bus("ones");
  const placement = bus.map("timer", 0x40, 4, new Region(0x12));
  assertEquals(bus.read(0x43, 1), 0x12);
  placement.move(0x600, 2);
  assertEquals([bus.read(0x40, 1), bus.read(0x600, 2), bus.read(0x602, 1)], [0xff, 0x1212, 0xff]);
  assertEquals([placement.start, placement.length], [0x600, 2]);
  placement[Symbol.dispose]();
  placement[Symbol.dispose]();
  assertEquals(bus.read(0x600, 4), 0xffffffff);
  assertEquals(bus.regions, []);
});

Deno.test("what is fixed does not overlap; what the guest places may, and the last one answers", () => {
  const bus = new Bus("zeros");
  bus.map("fixed", 0x1000, 0x1000, new Region(1));
  assertThrows(() => bus.map("other", 0x1800, 0x1000, new Region(2)), Error, "overlaps fixed");
  const first = bus.place("first", 0x1400, 0x100, new Region(3), { priority: 1 });
  const second = bus.place("second", 0x1480, 0x100, new Region(4), { priority: 1 });
  assertEquals(
    bus.regions.map(({ name, start, length, offset }) => [name, start, length, offset]),
    [["fixed", 0x1000, 0x400, 0], ["first", 0x1400, 0x80, 0], ["second", 0x1480, 0x100, 0], [
      "fixed",
      0x1580,
      0xa80,
      0x580,
    ]],
  );
  first.move(0x1480);
  assertEquals(bus.read(0x1480, 1), 3);
  second[Symbol.dispose]();
  first[Symbol.dispose]();
  assertEquals(bus.regions.map(({ name, length }) => [name, length]), [["fixed", 0x1000]]);
});

Deno.test("a part of a region is seen through a window", () => {
  const bus = new Bus("zeros");
  const region = new Region(5);
  bus.place("bar", 0x3000, 0x10, region, { offset: 0x80 });
  bus.write(0x3004, 2, 0xabcd);
  assertEquals(region.accesses, ["write 132 2 0xabcd"]);
});

Deno.test("eight bytes are one access where a region takes it, and two elsewhere", () => {
  const bus = new Bus("zeros");
  const wide = new WideRegion(0);
  const narrow = new Region(0x5a);
  bus.map("wide", 0x0, 8, wide);
  bus.map("narrow", 0x100, 8, narrow);
  assertEquals(bus.read64(0), 0x1122334455667788n);
  bus.write64(0, 0xfedcba9876543210n);
  assertEquals(wide.accesses, ["read 0 8", "write 0 8 0xfedcba9876543210"]);
  assertEquals(bus.read64(0x100), 0x5a5a5a5a5a5a5a5an);
  bus.write64(0x100, 0xfedcba9876543210n);
  assertEquals(narrow.accesses, [
    "read 0 4",
    "read 4 4",
    "write 0 4 0x76543210",
    "write 4 4 0xfedcba98",
  ]);
});

Deno.test("an access across a border is made byte by byte", () => {
  const bus = new Bus("ones");
  bus.map("low", 0x10, 2, new Region(0x11));
  bus.map("high", 0x12, 1, new Region(0x22));
  assertEquals(bus.read(0x10, 4), 0xff221111);
  assertEquals(bus.read(0x0e, 4), 0x1111ffff);
  assertEquals(bus.read64(0x0e), 0xffffff221111ffffn);
});

Deno.test("a shared line is high while one of its sources asserts it", () => {
  const levels: boolean[] = [];
  const shared = new SharedLine({ set: (level) => void levels.push(level) });
  const [a, b] = [shared.input(), shared.input()];
  a.set(true);
  b.set(true);
  a.set(false);
  b.set(false);
  assertEquals(levels, [true, true, true, false]);
});
