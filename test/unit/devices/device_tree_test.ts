import { assert, assertEquals } from "@std/assert";
import { buildDeviceTree } from "../../../src/devices/device_tree.ts";
import { reference, secondIoapic, serial, virtioMmio } from "./reference.ts";

Deno.test("the device tree is QEMU's, byte for byte", async () => {
  const tree = buildDeviceTree({
    serial,
    rtc: false,
    secondIoapic,
    virtioMmio: virtioMmio([20, 21, 22, 23], 24),
  });
  const expected = await reference("virtio4.fdt");
  assertEquals(tree.slice(0, expected.length), expected);
  assert(tree.subarray(expected.length).every((byte) => byte === 0));
});

Deno.test("without a second I/O APIC the transports hang on the first", async () => {
  const tree = buildDeviceTree({ serial, rtc: false, virtioMmio: virtioMmio([6, 7], 5) });
  const expected = await reference("acpioff.fdt");
  assertEquals(tree.slice(0, expected.length), expected);
});
