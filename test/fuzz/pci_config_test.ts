/** Random accesses of a guest to configuration space, through ports and directly. Prints its seed. */
import { assert, assertEquals } from "@std/assert";
import type { AccessSize } from "../../src/devices/device.ts";
import { barAddress } from "../../src/devices/pci/bars.ts";
import { ConfigMechanism1 } from "../../src/devices/pci/mechanism1.ts";
import { rootPortSpace } from "../../src/devices/pci/root_port.ts";
import { modernBar, virtioPciKinds, virtioPciSpace } from "../../src/devices/virtio/pci_space.ts";
import { Random } from "../support/random.ts";

/** MOLT_FUZZ_CASES: how many accesses; MOLT_SEED: a seed that a failed run has printed. */
const CASES = Number(Deno.env.get("MOLT_FUZZ_CASES") ?? 2000);

Deno.test("random accesses change what the guest may change, and nothing else", () => {
  const seed = Number(Deno.env.get("MOLT_SEED") ?? Date.now() % 2 ** 32);
  console.log(`seed ${seed} (MOLT_SEED)`);
  const random = new Random(seed);
  for (let round = 0; round < CASES / 100; round++) {
    const spaces = [
      rootPortSpace({ slot: 1, port: 0, hotplug: true, occupied: true }),
      virtioPciSpace(virtioPciKinds["virtio-blk-pci"], { form: "express", vectors: 2 }),
      virtioPciSpace(virtioPciKinds["virtio-net-pci"], { form: "transitional", vectors: 4 }),
    ];
    const before = spaces.map(({ bytes }) => bytes.slice());
    const host = new ConfigMechanism1((bus, at) => bus === 0 ? spaces[at >> 3] : undefined);
    for (let access = 0; access < 100; access++) {
      const size = random.pick<AccessSize>([1, 2, 4]);
      const space = random.pick(spaces);
      const value = random.chance(3) ? 0xffffffff : random.word();
      const width = size === 4 ? 0xffffffff : 2 ** (8 * size) - 1;
      const written = (value & width) >>> 0;
      if (random.chance(2)) {
        const address = random.chance(8) ? random.word() : 0x8000_0000 + random.below(0x2000);
        host.addressRegion.write(0, 4, address);
        assertEquals(host.addressRegion.read(0, 4), address >>> 0);
        host.dataRegion.write(random.below(4), size, written);
      } else {
        space.write(random.below(space.size + 4), size, written);
      }
      const read = space.read(random.below(space.size + 4), size);
      assert(read >= 0 && read <= width);
      const address = barAddress(space, modernBar);
      if (address !== undefined) assertEquals(address % BigInt(modernBar.size), 0n);
    }
    spaces.forEach((space, index) => {
      assertEquals(space.bytes.length, before[index]?.length);
      // What was written is a state that the same function loads.
      space.check(before[index] ?? new Uint8Array());
    });
  }
});
