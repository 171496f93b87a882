import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { BootError, type InitialCpu, type KernelBoot } from "../../../src/boot/boot.ts";
import { loadKernel } from "../../../src/boot/kernel.ts";
import { microvmMemoryMap } from "../../../src/boot/memory_map.ts";
import { bzImage, file, SparseMemory, viewOf } from "./images.ts";

const mebibyte = 1024 * 1024;
const payload = Uint8Array.from({ length: 2048 }, (_, i) => i);

function boot(kernel: Uint8Array, more: Partial<KernelBoot> = {}): KernelBoot {
  return {
    kernel: file("bzImage", kernel),
    commandLine: "console=ttyS0",
    memoryMap: microvmMemoryMap(64 * mebibyte),
    ...more,
  };
}

function load(kernel: Uint8Array, more: Partial<KernelBoot> = {}) {
  const memory = new SparseMemory(64 * mebibyte);
  return { memory, cpu: long(loadKernel(memory, boot(kernel, more))) };
}

function long(cpu: InitialCpu): InitialCpu & { mode: "long" } {
  if (cpu.mode !== "long") throw new Error(`mode ${cpu.mode}`);
  return cpu;
}

function failure(kernel: Uint8Array, more: Partial<KernelBoot> = {}): string {
  const memory = new SparseMemory(64 * mebibyte);
  const error = assertThrows(() => loadKernel(memory, boot(kernel, more)), BootError);
  assertEquals(memory.written, 0, "a refused kernel must not change memory");
  return error.message;
}

/** The physical address that a 64-bit guest with these page tables sees at `address`. */
function translate(memory: SparseMemory, cr3: number, address: number): number {
  const entry = (table: number, index: number) => memory.u64(table + 8 * index);
  const table = (value: number) => Math.floor(value / 4096) * 4096;
  const pointers = table(entry(cr3, 0));
  const directory = table(entry(pointers, Math.floor(address / 2 ** 30)));
  const page = entry(directory, Math.floor(address / 2 ** 21) % 512);
  assertEquals(page % 256, 0x83, "present, writable, 2 MiB");
  return page - 0x83 + address % 2 ** 21;
}

Deno.test("a bzImage starts at its 64-bit entry with boot_params, command line and initrd", () => {
  const initrd = new Uint8Array(10000).fill(9);
  const { memory, cpu } = load(bzImage(payload), {
    initrd: file("initrd", initrd),
    rsdpAddress: 0x3ffe000,
  });
  assertEquals(cpu.entry, 0x1000000 + 0x200);
  assertEquals(memory.read(0x1000000, payload.length), payload);

  const params = cpu.rsi;
  assertEquals(memory.u32(params + 0x202), 0x53726448, "the setup header was copied");
  assertEquals(memory.read(params + 0x210, 2), new Uint8Array([0xff, 0x01]));
  assertEquals(memory.text(memory.u32(params + 0x228)), "console=ttyS0");
  assertEquals(memory.u64(params + 0x70), 0x3ffe000);
  const ramdisk = memory.u32(params + 0x218);
  assertEquals(ramdisk % 4096, 0);
  assertEquals(memory.u32(params + 0x21c), 10000);
  assertEquals(memory.read(ramdisk, 10000), initrd);

  const entries = Array.from({ length: memory.read(params + 0x1e8, 1)[0] ?? 0 }, (_, i) => {
    const at = params + 0x2d0 + 20 * i;
    return [memory.u64(at), memory.u64(at + 8), memory.u32(at + 16)];
  });
  assertEquals(
    entries,
    microvmMemoryMap(64 * mebibyte).map((e) => [e.start, e.length, e.kind === "ram" ? 1 : 2]),
  );
});

Deno.test("the first 4 GiB are mapped one to one, and the GDT holds the protocol's segments", () => {
  const { memory, cpu } = load(bzImage(payload));
  for (const address of [0, 0x1000000, cpu.rsi, 0xbfe00000, 0xfee00020, 0xffffffff]) {
    assertEquals(translate(memory, cpu.cr3, address), address);
  }
  assertEquals(cpu.gdt.limit, 31);
  assertEquals(
    memory.read(cpu.gdt.base + 0x10, 8),
    new Uint8Array([255, 255, 0, 0, 0, 0x9b, 0xaf, 0]),
  );
  assertEquals(
    memory.read(cpu.gdt.base + 0x18, 8),
    new Uint8Array([255, 255, 0, 0, 0, 0x93, 0xcf, 0]),
  );
});

Deno.test("a relocatable kernel goes elsewhere if its preferred address is not RAM", () => {
  const { cpu } = load(bzImage(payload, (view) => view.setBigUint64(0x258, 0x10000000n, true)));
  assertEquals(cpu.entry, 0x200000 + 0x200);
});

Deno.test("a kernel that needs an address or more RAM than there is is refused", () => {
  assertStringIncludes(
    failure(bzImage(payload, (view) => {
      view.setUint8(0x234, 0);
      view.setBigUint64(0x258, 0x10000000n, true);
    })),
    "it needs 3145728 bytes of RAM at 0x10000000",
  );
  assertStringIncludes(
    failure(bzImage(payload, (view) => view.setUint32(0x260, 64 * mebibyte, true))),
    "which the guest does not have",
  );
  assertStringIncludes(
    failure(bzImage(payload, (view) => view.setBigUint64(0x258, 0xffffffffffffffffn, true)), {
      memoryMap: [{ start: 0, length: 0x100000, kind: "ram" }],
    }),
    "which the guest does not have",
  );
});

Deno.test("an initrd stays below the kernel's limit and above its working area", () => {
  const initrd = file("initrd", new Uint8Array(mebibyte));
  const { memory, cpu } = load(
    bzImage(payload, (view) => view.setUint32(0x22c, 0x1ffffff, true)),
    { initrd },
  );
  assertEquals(memory.u32(cpu.rsi + 0x218), 31 * mebibyte);
  assertStringIncludes(
    failure(bzImage(payload, (view) => view.setUint32(0x22c, 0x1380000, true)), { initrd }),
    "initrd 'initrd' is too large (max: 524289, need 1048576)",
  );
});

Deno.test("kernels without the 64-bit protocol are refused with the reason", () => {
  const changed = (change: (view: DataView) => void) => failure(bzImage(payload, change));
  assertStringIncludes(changed((v) => v.setUint32(0x202, 0, true)), "neither a Linux bzImage nor");
  assertStringIncludes(changed((v) => v.setUint16(0x1fe, 0, true)), "boot flag");
  assertStringIncludes(
    changed((v) => v.setUint16(0x206, 0x20b, true)),
    "boot protocol 2.11 is too old",
  );
  assertStringIncludes(changed((v) => v.setUint8(0x211, 0)), "zImage");
  assertStringIncludes(changed((v) => v.setUint16(0x236, 0, true)), "no 64-bit entry point");
  assertStringIncludes(changed((v) => v.setUint32(0x230, 0x300000, true)), "not a power of two");
  assertStringIncludes(changed((v) => v.setUint8(0x201, 0x10)), "setup header ends at 530");
  assertStringIncludes(changed((v) => v.setUint8(0x201, 0xff)), "setup header ends at 769");
});

Deno.test("a truncated kernel is refused, the padding of the last paragraph is not missed", () => {
  const good = bzImage(payload.subarray(0, 2040));
  assertEquals(load(good).cpu.entry, 0x1000200);
  assertStringIncludes(
    failure(good.slice(0, 3000)),
    "file is truncated: 3072 bytes expected, 3000",
  );
  for (let length = 0; length < 3048; length += 7) failure(good.slice(0, length));
});

Deno.test("the command line is limited by the kernel", () => {
  const { memory, cpu } = load(bzImage(payload), { commandLine: "x".repeat(2047) });
  assertEquals(memory.text(memory.u32(cpu.rsi + 0x228)).length, 2047);
  assertStringIncludes(
    failure(bzImage(payload), { commandLine: "x".repeat(2048) }),
    "kernel command line of 2048 bytes is too long: at most 2047",
  );
});

Deno.test("any byte of the setup header may be anything: it loads or gives a BootError", () => {
  const good = bzImage(payload);
  for (let offset = 0x1f1; offset < 0x290; offset++) {
    for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
      const bytes = good.slice();
      viewOf(bytes).setUint8(offset, value);
      try {
        loadKernel(new SparseMemory(64 * mebibyte), boot(bytes));
      } catch (error) {
        if (!(error instanceof BootError)) throw error;
      }
    }
  }
});
