import { assertEquals } from "@std/assert";
import { encodeMpTable, mpTableAddress } from "../../../src/boot/mptable.ts";
import { appendVirtioMmio } from "../../../src/boot/virtio_mmio_command_line.ts";
import { viewOf } from "./images.ts";

Deno.test("virtio-mmio devices are appended to the command line as QEMU 11.1 does it", () => {
  // As seen by a guest of -M microvm,acpi=off with three virtio devices.
  const transports = [
    { address: 0xfeb00a00, irq: 10 },
    { address: 0xfeb00e00, irq: 12 },
    { address: 0xfeb00c00, irq: 11 },
  ];
  assertEquals(
    appendVirtioMmio("a=b", transports),
    "a=b virtio_mmio.device=512@0xfeb00e00:12 virtio_mmio.device=512@0xfeb00c00:11 " +
      "virtio_mmio.device=512@0xfeb00a00:10",
  );
  assertEquals(appendVirtioMmio("a=b", []), "a=b");
});

Deno.test("the MP table lists every CPU, the I/O APIC and the ISA interrupts", () => {
  const bytes = encodeMpTable({ cpus: 2, signature: 0x600f12, features: 0x178bfbff });
  const view = viewOf(bytes);
  const text = (offset: number, length: number) =>
    String.fromCharCode(...bytes.subarray(offset, offset + length));
  const sum = (part: Uint8Array) => part.reduce((total, byte) => total + byte, 0) & 0xff;

  assertEquals(text(0, 4), "_MP_");
  assertEquals(view.getUint32(4, true), mpTableAddress + 16);
  assertEquals(sum(bytes.subarray(0, 16)), 0);
  assertEquals(text(16, 4), "PCMP");
  assertEquals(view.getUint16(20, true), bytes.length - 16);
  assertEquals(sum(bytes.subarray(16)), 0);
  assertEquals(bytes.length <= 1024, true, "it fits the extended BIOS data area");

  const entries: number[][] = [];
  for (let offset = 16 + 44; offset < bytes.length;) {
    const length = bytes[offset] === 0 ? 20 : 8;
    entries.push([...bytes.subarray(offset, offset + length)]);
    offset += length;
  }
  assertEquals(entries.length, view.getUint16(16 + 34, true));
  const ofType = (type: number) => entries.filter((entry) => entry[0] === type);
  assertEquals(ofType(0).map((cpu) => [cpu[1], cpu[3]]), [[0, 3], [1, 1]]);
  assertEquals(ofType(2), [[2, 2, 0x14, 1, 0x00, 0x00, 0xc0, 0xfe]]);
  assertEquals(
    ofType(3).map((entry) => [entry[5], entry[7]]),
    [[0, 2], ...[1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((irq) => [irq, irq])],
  );
});
