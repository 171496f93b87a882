import { assertEquals, assertThrows } from "@std/assert";
import { applyPam, PAM_COUNT, q35Ram, q35RamLayout } from "../../../src/machine/boards/q35_ram.ts";
import { MachineRam } from "../../../src/machine/ram.ts";
import { createDeviceMemory } from "../../../src/memory/device_memory.ts";
import { PageBitmap } from "../../../src/native/pages.ts";

const MiB = 1 << 20;
const GiB = 1 << 30;

function createRam(firmwareSize = 0x10000): MachineRam {
  return new MachineRam({
    size: 16 * MiB,
    plan: q35Ram(true),
    firmware: new Uint8Array(firmwareSize),
    shareAuxiliary: false,
    adopt: () => undefined,
    openPath: () => {
      throw new Error("no file is opened");
    },
  });
}

/** What the guest sees in the first mebibyte, neighbours of the same kind together. */
function firstMebibyte({ memory }: MachineRam): string[] {
  const pieces: { name: string; start: number; end: number }[] = [];
  for (const { address, size, block, readOnly } of memory.regions) {
    if (address >= MiB) continue;
    const name = `${block.name}${readOnly ? " (read-only)" : ""}`;
    const last = pieces.at(-1);
    if (last?.name === name) last.end = address + size;
    else pieces.push({ name, start: address, end: address + size });
  }
  return pieces.map(({ name, start, end }) => `${start.toString(16)}-${end.toString(16)} ${name}`);
}

Deno.test("q35: RAM is split as QEMU 11.1 splits it", () => {
  const layout = (size: number) =>
    q35RamLayout(size).map(({ start, length }) => [start.toString(16), length.toString(16)]);
  assertEquals(layout(1 * GiB), [["0", "40000000"]]);
  assertEquals(layout(2800 * MiB), [["0", "af000000"]]);
  assertEquals(layout(2816 * MiB), [["0", "80000000"], ["100000000", "30000000"]]);
  assertEquals(layout(6 * GiB), [["0", "80000000"], ["100000000", "100000000"]]);
});

Deno.test("q35: blocks stand in the order of QEMU's streams", () => {
  using ram = createRam();
  assertEquals(ram.blocks.map(({ name }) => name), [
    "pc.ram",
    "/rom@etc/acpi/tables",
    "pc.rom",
    "pc.bios",
    "/rom@etc/table-loader",
    "/rom@etc/acpi/rsdp",
  ]);
});

Deno.test("q35: PAM chooses what the guest sees of the first mebibyte", () => {
  using ram = createRam();
  const atReset = [
    "0-c0000 pc.ram",
    "c0000-e0000 pc.rom (read-only)",
    "e0000-f0000 pc.ram",
    "f0000-100000 pc.bios (read-only)",
  ];
  assertEquals(firstMebibyte(ram), atReset);
  applyPam(ram.memory, ram, Uint8Array.of(0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33));
  assertEquals(firstMebibyte(ram), ["0-100000 pc.ram"]);
  // What firmware leaves behind.
  applyPam(ram.memory, ram, Uint8Array.of(0x10, 0x11, 0x11, 0x11, 0x11, 0x11, 0x33));
  assertEquals(firstMebibyte(ram), [
    "0-c0000 pc.ram",
    "c0000-e8000 pc.ram (read-only)",
    "e8000-f0000 pc.ram",
    "f0000-100000 pc.ram (read-only)",
  ]);
  applyPam(ram.memory, ram, new Uint8Array(PAM_COUNT));
  assertEquals(firstMebibyte(ram), atReset);
});

Deno.test("q35: up to 128 KiB of the firmware are seen below 1 MiB", () => {
  using ram = createRam(0x40000);
  ram.firmware.mapping.bytes[0x20000] = 0x5a;
  assertEquals(firstMebibyte(ram).at(-1), "e0000-100000 pc.bios (read-only)");
  assertEquals(ram.memory.read(0xe0000, 1), Uint8Array.of(0x5a));
});

Deno.test("what a region showed and what it shows count as written in a live migration", () => {
  using ram = createRam();
  using owner = new DisposableStack();
  createDeviceMemory(ram.memory, owner);
  const roms = ram.block("pc.rom");
  if (roms === undefined) throw new Error("there is no pc.rom");
  using mainPages = new PageBitmap(16 * MiB / 4096);
  using romPages = new PageBitmap(0x20);
  ram.memory.recordDeviceWrites(new Map([[ram.main, mainPages], [roms, romPages]]));
  ram.memory.remap(0xc4000, { block: ram.main, blockOffset: 0xc4000 });
  assertEquals([mainPages.count(), romPages.count()], [4, 4]);
  ram.memory.remap(0xc4000, { block: ram.main, blockOffset: 0xc4000 });
  ram.memory.write(0xc4000, Uint8Array.of(1));
  assertEquals(ram.main.mapping.bytes[0xc4000], 1);
  ram.memory.recordDeviceWrites(undefined);
  assertThrows(() => ram.memory.remap(0xc5000, { block: roms, blockOffset: 0 }), RangeError);
  assertThrows(() => ram.memory.remap(0xc4000, { block: roms, blockOffset: 0x1e000 }), RangeError);
});
