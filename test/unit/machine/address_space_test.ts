import { assertEquals } from "@std/assert";
import type { AccessSize, RegisterRegion } from "../../../src/devices/device.ts";
import { AddressSpace } from "../../../src/machine/address_space.ts";
import { Bus } from "../../../src/machine/bus.ts";
import { GuestMemory } from "../../../src/memory/guest_memory.ts";
import { createAuxiliaryBlock } from "../../../src/memory/ram_block.ts";

const RAM_SIZE = 0x2000;
const REGISTERS = 0x3000;

/** RAM from 0 to 0x2000, and registers at 0x3000 that write down how they are accessed. */
function build() {
  const resources = new DisposableStack();
  const block = resources.use(createAuxiliaryBlock({
    name: "ram",
    usedLength: RAM_SIZE,
    maximumLength: RAM_SIZE,
    share: false,
    adopted: undefined,
  }));
  const ram = new GuestMemory([{ address: 0, size: RAM_SIZE, block, blockOffset: 0 }]);
  const accesses: [offset: number, size: AccessSize, value?: number][] = [];
  const region: RegisterRegion = {
    read: (offset, size) => {
      accesses.push([offset, size]);
      return offset + 0x10;
    },
    write: (offset, size, value) => void accesses.push([offset, size, value]),
  };
  const bus = new Bus("zeros");
  bus.map("registers", REGISTERS, 0x100, region);
  return { space: new AddressSpace(ram, bus), ram, accesses, resources };
}

Deno.test("RAM, registers and nothing lie behind one address", () => {
  const { space, ram, accesses, resources } = build();
  using _ = resources;
  ram.write(RAM_SIZE - 2, new Uint8Array([1, 2]));
  assertEquals([...space.read(RAM_SIZE - 2, 4)], [1, 2, 0, 0]);
  assertEquals([...space.read(REGISTERS - 1, 3)], [0, 0x10, 0]);
  assertEquals(accesses, [[0, 2]]);
});

Deno.test("registers are accessed in the widest aligned pieces", () => {
  const { space, accesses, resources } = build();
  using _ = resources;
  space.read(REGISTERS + 1, 8);
  assertEquals(accesses, [[1, 1], [2, 2], [4, 4], [8, 1]]);
  accesses.length = 0;
  space.write(REGISTERS, new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]));
  assertEquals(accesses, [[0, 4, 0x04030201], [4, 4, 0x08070605]]);
});

Deno.test("what is written past the end of everything is lost", () => {
  const { space, ram, resources } = build();
  using _ = resources;
  space.write(RAM_SIZE - 1, new Uint8Array([7, 8]));
  assertEquals([...ram.read(RAM_SIZE - 1, 1)], [7]);
  space.write(2 ** 60, new Uint8Array([1]));
  assertEquals([...space.read(2 ** 64, 2)], [0, 0]);
});

Deno.test("a fill of the whole address space ends at once", () => {
  const { space, ram, resources } = build();
  using _ = resources;
  space.fill(1, 2 ** 64, 0xa5);
  assertEquals([...ram.read(0, 2)], [0, 0xa5]);
  assertEquals([...ram.read(RAM_SIZE - 1, 1)], [0xa5]);
});
