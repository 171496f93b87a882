import { assertEquals } from "@std/assert";
import { ConfigMechanism1 } from "../../../../src/devices/pci/mechanism1.ts";
import { rootPortSpace } from "../../../../src/devices/pci/root_port.ts";
import { virtioPciKinds, virtioPciSpace } from "../../../../src/devices/virtio/pci_space.ts";

function host() {
  const space = virtioPciSpace(virtioPciKinds["virtio-blk-pci"], {
    form: "transitional",
    vectors: 2,
  });
  return new ConfigMechanism1((bus, at) => bus === 0 && at === 3 << 3 ? space : undefined);
}

Deno.test("a register is read whole and byte by byte at the data port", () => {
  const { addressRegion, dataRegion } = host();
  addressRegion.write(0, 4, 0x8000_1800);
  assertEquals(addressRegion.read(0, 4), 0x8000_1800);
  assertEquals(dataRegion.read(0, 4), 0x1001_1af4);
  assertEquals([0, 1, 2, 3].map((at) => dataRegion.read(at, 1)), [0xf4, 0x1a, 0x01, 0x10]);
});

Deno.test("a BAR is sized: what stays of ones is its size and type", () => {
  const { addressRegion, dataRegion } = host();
  const sized = (register: number) => {
    addressRegion.write(0, 4, 0x8000_1800 | register);
    dataRegion.write(0, 4, 0xffffffff);
    return dataRegion.read(0, 4);
  };
  assertEquals([0x10, 0x14, 0x18, 0x20, 0x24].map(sized), [
    0xffff_ff81,
    0xffff_f000,
    0,
    0xffff_c00c,
    0xffff_ffff,
  ]);
});

Deno.test("no function, or an address without its enable bit: ones are read, writes are lost", () => {
  const { addressRegion, dataRegion } = host();
  for (const address of [0x8000_2000, 0x8001_1800, 0x0000_1800]) {
    addressRegion.write(0, 4, address);
    dataRegion.write(0, 4, 0);
    assertEquals([dataRegion.read(0, 4), dataRegion.read(2, 2), dataRegion.read(3, 1)], [
      0xffffffff,
      0xffff,
      0xff,
    ]);
  }
});

Deno.test("narrow writes do not reach the address, narrow reads give its low bytes as QEMU's do", () => {
  const { addressRegion } = host();
  addressRegion.write(0, 4, 0x8000_1800);
  assertEquals(
    [addressRegion.read(0, 1), addressRegion.read(2, 1), addressRegion.read(2, 2)],
    [0x00, 0x00, 0x1800],
  );
  addressRegion.write(0, 1, 0xff);
  addressRegion.write(2, 2, 0xffff);
  assertEquals(addressRegion.read(0, 4), 0x8000_1800);
});

Deno.test("a root port's header keeps of ones what QEMU's keeps", () => {
  const port = rootPortSpace({ slot: 1, port: 0, hotplug: true, occupied: false });
  const kept = [0x04, 0x0c, 0x10, 0x18, 0x1c, 0x3c].map((register) => {
    port.write(register, 4, 0xffffffff);
    return port.read(register, 4);
  });
  assertEquals(kept, [0x100507, 0x100ff, 0xfffff000, 0xffffff, 0xf0f0, 0x5f01ff]);
});
