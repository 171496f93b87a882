import { assertEquals, assertThrows } from "@std/assert";
import { BootError } from "../../../src/boot/boot.ts";
import { loadBootSector } from "../../../src/boot/boot_sector.ts";
import { layOutFirmware, resetOnlyFirmware } from "../../../src/boot/firmware.ts";
import { file, SparseMemory } from "./images.ts";

function sector(): Uint8Array {
  const bytes = Uint8Array.from({ length: 512 }, (_, i) => i);
  bytes.set([0x55, 0xaa], 510);
  return bytes;
}

Deno.test("a disk's first sector starts at 0x7c00 with the drive's number in dl", () => {
  const memory = new SparseMemory(1024 * 1024);
  const disk = new Uint8Array(2048).fill(0xee);
  disk.set(sector());
  const cpu = loadBootSector(memory, file("disk.img", disk));
  assertEquals(cpu, { mode: "real", segment: 0, offset: 0x7c00, stackPointer: 0x7c00, dl: 0x80 });
  assertEquals(memory.read(0x7c00, 512), sector());
  assertEquals(memory.written, 512);
});

Deno.test("a disk without boot signature is refused by name", () => {
  const memory = new SparseMemory(1024 * 1024);
  const bytes = sector();
  bytes[511] = 0;
  assertThrows(
    () => loadBootSector(memory, file("data.img", bytes)),
    BootError,
    "could not boot disk 'data.img': no boot signature in its first sector",
  );
  assertThrows(
    () => loadBootSector(memory, file("short.img", bytes.subarray(0, 511))),
    BootError,
    "could not boot disk 'short.img': it is shorter than a sector",
  );
});

Deno.test("firmware ends at 4 GiB and its last 128 KiB are seen below 1 MiB", () => {
  const image = (kibibytes: number) => file("bios.bin", new Uint8Array(kibibytes * 1024));
  assertEquals(layOutFirmware(image(64)), {
    address: 0xffff0000,
    lowAlias: { address: 0xf0000, length: 0x10000 },
    cpu: { mode: "reset vector" },
  });
  assertEquals(layOutFirmware(image(256)).lowAlias, { address: 0xe0000, length: 0x20000 });
  for (const size of [0, 63, 16 * 1024 + 64]) {
    assertThrows(() => layOutFirmware(image(size)), BootError, "could not load PC BIOS 'bios.bin'");
  }
});

Deno.test("without firmware, the reset vector jumps to code that loads empty tables", () => {
  for (const size of [0x10000, 0x20000]) {
    const image = resetOnlyFirmware(size);
    assertEquals(image.length, size);
    const segment = image.subarray(size - 0x10000);
    const [opcode, ...target] = segment.subarray(0xfff0, 0xfff5);
    assertEquals([opcode, ...target], [0xea, 0x00, 0xff, 0x00, 0xf0], "a far jump to f000:ff00");
    assertEquals([...segment.subarray(0xff20, 0xff26)], [0, 0, 0, 0, 0, 0], "limit and base");
    layOutFirmware(file("reset", image));
  }
});
