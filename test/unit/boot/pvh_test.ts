import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { BootError, type KernelBoot } from "../../../src/boot/boot.ts";
import { loadKernel } from "../../../src/boot/kernel.ts";
import { microvmMemoryMap } from "../../../src/boot/memory_map.ts";
import { loadPvh } from "../../../src/boot/pvh.ts";
import { concatenate, elf, entryNote, file, note, SparseMemory, viewOf } from "./images.ts";

const mebibyte = 1024 * 1024;

function boot(kernel: Uint8Array, more: Partial<KernelBoot> = {}): KernelBoot {
  return {
    kernel: file("vmlinux", kernel),
    commandLine: "console=ttyS0",
    memoryMap: microvmMemoryMap(64 * mebibyte),
    ...more,
  };
}

function failure(kernel: Uint8Array, more: Partial<KernelBoot> = {}): string {
  const memory = new SparseMemory(64 * mebibyte);
  const error = assertThrows(() => loadKernel(memory, boot(kernel, more)), BootError);
  assertEquals(memory.written, 0, "a refused kernel must not change memory");
  return error.message;
}

Deno.test("a PVH kernel gets its segments, command line, initrd and memory map", () => {
  const memory = new SparseMemory(64 * mebibyte);
  // What an earlier run left behind where this kernel expects zeros.
  memory.write(0x200000, new Uint8Array(8192).fill(0xff));
  const kernel = elf({
    segments: [
      { address: 0x100000, bytes: new Uint8Array([1, 2, 3]) },
      { address: 0x200000, bytes: new Uint8Array([4, 5]), memorySize: 5000 },
    ],
    notes: entryNote(0x100001),
  });
  const initrd = new Uint8Array(5000).fill(7);
  const cpu = loadPvh(
    memory,
    boot(kernel, { initrd: file("initrd", initrd), rsdpAddress: 0x3fff000 }),
  );

  if (cpu.mode !== "protected") throw new Error(`mode ${cpu.mode}`);
  assertEquals(cpu.entry, 0x100001);
  assertEquals(memory.read(0x100000, 4), new Uint8Array([1, 2, 3, 0]));
  assertEquals(
    memory.read(0x200000, 5000),
    concatenate(new Uint8Array([4, 5]), new Uint8Array(4998)),
  );
  assertEquals(memory.read(0x200000 + 5000, 1), new Uint8Array([0xff]));

  const info = cpu.ebx;
  assertEquals(memory.u32(info), 0x336ec578);
  assertEquals(memory.u32(info + 4), 1);
  assertEquals(memory.u32(info + 12), 1, "one module");
  assertEquals(memory.text(memory.u64(info + 24)), "console=ttyS0");
  assertEquals(memory.u64(info + 32), 0x3fff000);

  const module = memory.u64(info + 16);
  const initrdAddress = memory.u64(module);
  assertEquals(initrdAddress, 64 * mebibyte - 8192, "at the end of RAM, on a page");
  assertEquals(memory.u64(module + 8), 5000);
  assertEquals(memory.read(initrdAddress, 5000), initrd);

  const map = microvmMemoryMap(64 * mebibyte);
  const entries = Array.from({ length: memory.u32(info + 48) }, (_, i) => {
    const at = memory.u64(info + 40) + 24 * i;
    return [memory.u64(at), memory.u64(at + 8), memory.u32(at + 16)];
  });
  assertEquals(entries, map.map((e) => [e.start, e.length, e.kind === "ram" ? 1 : 2]));
});

Deno.test("without initrd there is no module, and ACPI memory has its own type", () => {
  const memory = new SparseMemory(64 * mebibyte);
  const acpi = { start: 64 * mebibyte - 4096, length: 4096 };
  const cpu = loadPvh(
    memory,
    boot(elf({ notes: entryNote(0x100000) }), {
      memoryMap: microvmMemoryMap(64 * mebibyte, acpi),
    }),
  );
  if (cpu.mode !== "protected") throw new Error(`mode ${cpu.mode}`);
  assertEquals(memory.u32(cpu.ebx + 12), 0);
  assertEquals(memory.u64(cpu.ebx + 16), 0);
  const types = Array.from(
    { length: memory.u32(cpu.ebx + 48) },
    (_, i) => memory.u32(memory.u64(cpu.ebx + 40) + 24 * i + 16),
  );
  assertEquals(types.includes(3), true);
});

Deno.test("the note is found in 32-bit files, among others, with either width and alignment", () => {
  const other = note("GNU", 3, new Uint8Array(20));
  for (
    const kernel of [
      elf({ is64: false, notes: entryNote(0x100002) }),
      elf({ notes: concatenate(other, entryNote(0x100002)) }),
      elf({ notes: entryNote(0x100002, 8, 8), noteAlignment: 8 }),
    ]
  ) {
    const cpu = loadKernel(new SparseMemory(64 * mebibyte), boot(kernel));
    assertEquals(cpu.mode === "protected" && cpu.entry, 0x100002);
  }
});

Deno.test("an ELF file without the note is named as such", () => {
  assertStringIncludes(failure(elf({})), "'vmlinux'");
  assertStringIncludes(
    failure(elf({ notes: note("Xen", 2, new Uint8Array(4)) })),
    "Error loading uncompressed kernel without PVH ELF Note",
  );
});

Deno.test("a damaged or foreign ELF file is refused with the reason", () => {
  const good = elf({ notes: entryNote(0x100000) });
  const changed = (change: (view: DataView) => void) => {
    const bytes = good.slice();
    change(viewOf(bytes));
    return failure(bytes);
  };
  assertStringIncludes(changed((v) => v.setUint8(4, 3)), "unknown ELF class 3");
  assertStringIncludes(changed((v) => v.setUint8(5, 2)), "not a little-endian ELF file");
  assertStringIncludes(changed((v) => v.setUint16(18, 183, true)), "machine 183 is not x86");
  assertStringIncludes(changed((v) => v.setUint16(54, 0, true)), "program header entry size is 0");
  assertStringIncludes(changed((v) => v.setUint16(56, 0xffff, true)), "65535 program headers");
  assertStringIncludes(
    changed((v) => v.setBigUint64(32, 0xffffffffffffffffn, true)),
    "program headers lie beyond the end of the file",
  );
  assertStringIncludes(
    changed((v) => v.setBigUint64(64 + 32, 1n << 63n, true)),
    "program header 0 lies beyond the end of the file",
  );
  assertStringIncludes(
    changed((v) => v.setBigUint64(64 + 40, 1n, true)),
    "more bytes in the file than in memory",
  );
  assertStringIncludes(
    changed((v) => v.setBigUint64(64 + 40, 1n << 60n, true)),
    "program header 0 lies outside memory",
  );
  assertStringIncludes(failure(new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 2, 1])), "truncated");
});

Deno.test("segments must lie in RAM, apart from each other and from the boot data", () => {
  const bytes = new Uint8Array(4096);
  const at = (...addresses: number[]) =>
    failure(
      elf({
        segments: addresses.map((address) => ({ address, bytes })),
        notes: entryNote(0x100000),
      }),
    );
  assertStringIncludes(at(64 * mebibyte - 4095), "does not lie in the guest's RAM");
  assertStringIncludes(at(0x9f000), "does not lie in the guest's RAM");
  assertStringIncludes(at(0x100000, 0x100fff), "overlaps another segment");
  assertStringIncludes(at(0x6000), "overlaps the boot data");
  assertStringIncludes(
    failure(
      elf({
        segments: [{ address: 0x100000, bytes, memorySize: 2 ** 40 }],
        notes: entryNote(0x100000),
      }),
    ),
    "does not lie in the guest's RAM",
  );
  assertStringIncludes(
    failure(elf({ notes: entryNote(0x200000) })),
    "entry point 0x200000 lies outside the kernel",
  );
});

Deno.test("an initrd that does not fit beside the kernel is refused", () => {
  const kernel = elf({
    segments: [{ address: 0x100000, bytes: new Uint8Array(16), memorySize: 40 * mebibyte }],
    notes: entryNote(0x100000),
  });
  const message = failure(kernel, { initrd: file("big.cpio", new Uint8Array(24 * mebibyte)) });
  assertStringIncludes(message, "'big.cpio' is too large (max: 24117248, need 25165824)");
});

Deno.test("a command line that is too long or has a NUL is refused", () => {
  const kernel = elf({ notes: entryNote(0x100000) });
  assertStringIncludes(failure(kernel, { commandLine: "x".repeat(65536) }), "at most 65535");
  assertStringIncludes(failure(kernel, { commandLine: "a\0b" }), "NUL");
});

Deno.test("any single byte of an ELF kernel may be anything: it loads or gives a BootError", () => {
  const good = elf({
    segments: [
      { address: 0x100000, bytes: new Uint8Array(64) },
      { address: 0x200000, bytes: new Uint8Array(64), memorySize: 8192 },
    ],
    notes: concatenate(note("GNU", 3, new Uint8Array(8)), entryNote(0x100000)),
  });
  for (let offset = 0; offset < good.length; offset++) {
    for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
      const bytes = good.slice();
      bytes[offset] = value;
      try {
        loadKernel(new SparseMemory(64 * mebibyte), boot(bytes));
      } catch (error) {
        if (!(error instanceof BootError)) throw error;
      }
    }
  }
});

Deno.test("an ELF kernel that was cut off anywhere loads or gives a BootError", () => {
  const good = elf({ notes: entryNote(0x100000) });
  for (let length = 0; length < good.length; length++) {
    failure(good.slice(0, length));
  }
});
