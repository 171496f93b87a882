import { assertEquals } from "@std/assert";
import { initialRegisters } from "../../../src/boot/registers.ts";

Deno.test("firmware starts from the processor's own reset state", () => {
  assertEquals(initialRegisters({ mode: "reset vector" }), undefined);
});

Deno.test("a boot sector starts in real mode with 64 KiB segments", () => {
  const registers = initialRegisters({
    mode: "real",
    segment: 0x1000,
    offset: 0x7c00,
    stackPointer: 0x7c00,
    dl: 0x80,
  });
  assertEquals(registers?.rip, 0x7c00);
  assertEquals(registers?.rdx, 0x80);
  assertEquals(registers?.cs.base, 0x10000);
  assertEquals(registers?.cs.limit, 0xffff);
  assertEquals((registers?.cr0 ?? 1) & 1, 0);
});

Deno.test("PVH starts in protected mode without paging, flat, ebx naming start_info", () => {
  const registers = initialRegisters({ mode: "protected", entry: 0x100000, ebx: 0x6000 });
  assertEquals(registers?.rip, 0x100000);
  assertEquals(registers?.rbx, 0x6000);
  assertEquals(registers?.cr0, 0x11);
  assertEquals(registers?.cr4, 0);
  assertEquals([registers?.cs.base, registers?.cs.limit, registers?.cs.db], [0, 0xffffffff, true]);
  assertEquals([registers?.tr?.base, registers?.tr?.limit], [0, 0x67]);
});

Deno.test("Linux' 64-bit entry has paging, long mode active and the protocol's selectors", () => {
  const registers = initialRegisters({
    mode: "long",
    entry: 0x1000200,
    rsi: 0x7000,
    stackPointer: 0x9000,
    cr3: 0x9000,
    gdt: { base: 0x500, limit: 31 },
  });
  assertEquals(registers?.rsi, 0x7000);
  assertEquals(registers?.cr0, 0x80000011);
  assertEquals(registers?.cr4, 0x20);
  assertEquals(registers?.efer, 0x500);
  assertEquals([registers?.cs.selector, registers?.cs.l, registers?.cs.db], [0x10, true, false]);
  assertEquals(registers?.data.selector, 0x18);
  assertEquals(registers?.gdt, { base: 0x500, limit: 31 });
});
