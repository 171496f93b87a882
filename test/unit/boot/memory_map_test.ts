import { assertEquals } from "@std/assert";
import { isRam, microvmMemoryMap, ramLayout } from "../../../src/boot/memory_map.ts";

const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;

Deno.test("RAM beyond 3 GiB continues at 4 GiB", () => {
  assertEquals(ramLayout(3 * gibibyte), [{ start: 0, length: 3 * gibibyte }]);
  assertEquals(ramLayout(5 * gibibyte), [
    { start: 0, length: 3 * gibibyte },
    { start: 4 * gibibyte, length: 2 * gibibyte },
  ]);
});

Deno.test("the memory map leaves out what a BIOS keeps and names what KVM uses", () => {
  assertEquals(microvmMemoryMap(256 * mebibyte), [
    { start: 0, length: 0x9fc00, kind: "ram" },
    { start: 0x9fc00, length: 0x400, kind: "reserved" },
    { start: 0xe0000, length: 0x20000, kind: "reserved" },
    { start: mebibyte, length: 255 * mebibyte, kind: "ram" },
    { start: 0xfeffc000, length: 0x4000, kind: "reserved" },
  ]);
});

Deno.test("a memory map over 4 GiB is sorted and has both pieces of RAM", () => {
  const map = microvmMemoryMap(4 * gibibyte);
  assertEquals(
    map.map((entry) => entry.start),
    map.map((entry) => entry.start).sort((a, b) => a - b),
  );
  assertEquals(isRam(map, 3 * gibibyte - 4096, 4096), true);
  assertEquals(isRam(map, 3 * gibibyte - 4096, 4097), false);
  assertEquals(isRam(map, 4 * gibibyte, gibibyte), true);
});

Deno.test("ACPI tables at the end of low RAM are no RAM any more", () => {
  for (const size of [64 * mebibyte, 4 * gibibyte]) {
    const acpi = { start: Math.min(size, 3 * gibibyte) - 8192, length: 8192 };
    const map = microvmMemoryMap(size, acpi);
    assertEquals(map.filter((entry) => entry.kind === "acpi"), [{ ...acpi, kind: "acpi" }]);
    assertEquals(isRam(map, acpi.start - 4096, 4096), true);
    assertEquals(isRam(map, acpi.start - 4096, 4097), false);
  }
});
