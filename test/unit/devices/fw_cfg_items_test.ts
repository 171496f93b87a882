import { assertEquals, assertThrows } from "@std/assert";
import { FwCfg } from "../../../src/devices/fw_cfg.ts";
import {
  addBoardItems,
  addLinuxItems,
  addPvhItems,
  type BoardItems,
} from "../../../src/devices/fw_cfg_items.ts";
import { secondIoapic, serial } from "./reference.ts";
import { BytesMemory } from "./dependencies.ts";

const board: BoardItems = {
  cpus: 3,
  maximumCpus: 8,
  ram: [{ start: 0, length: 0xc0000000 }, { start: 0x100000000, length: 0x80000000 }],
  noGraphic: false,
  bootMenu: false,
  bootOrder: [],
  devices: { serial, rtc: false, secondIoapic, virtioMmio: [] },
};

function item(fwCfg: FwCfg, key: number, length: number): string {
  fwCfg.portRegion.write(0, 2, key);
  return hex(Uint8Array.from({ length }, () => fwCfg.portRegion.read(1, 1)));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

Deno.test("the board's items are those of QEMU with -m 5G -smp 3,maxcpus=8", () => {
  const fwCfg = new FwCfg(new BytesMemory(0));
  addBoardItems(fwCfg, board);
  assertEquals(item(fwCfg, 0x03, 8), "0000004001000000");
  assertEquals(item(fwCfg, 0x05, 2), "0300");
  assertEquals(item(fwCfg, 0x0f, 2), "0800");
  assertEquals(item(fwCfg, 0x02, 16), "00".repeat(16));
  assertEquals(item(fwCfg, 0x8002, 4), "01000000");
  assertEquals(
    hex(fwCfg.file("etc/e820") ?? Uint8Array.of()),
    "0000000000000000000000c00000000001000000" + "0000000001000000000000800000000001000000",
  );
  assertEquals(hex(fwCfg.file("etc/boot-fail-wait") ?? Uint8Array.of()), "ffffffff");
  assertEquals(fwCfg.file("bootorder")?.length, 0);
  assertEquals(fwCfg.file("bios-geometry")?.length, 0);
  assertEquals(fwCfg.file("etc/fdt")?.length, 1 << 20);
});

Deno.test("boot options, UUID and -nographic reach firmware", () => {
  const fwCfg = new FwCfg(new BytesMemory(0));
  const uuid = Uint8Array.from({ length: 16 }, (_, index) => index);
  addBoardItems(fwCfg, {
    ...board,
    uuid,
    noGraphic: true,
    bootMenu: true,
    rebootTimeout: 5,
    bootOrder: ["/a", "/b"],
  });
  assertEquals(item(fwCfg, 0x02, 16), hex(uuid));
  assertEquals([item(fwCfg, 0x04, 2), item(fwCfg, 0x0e, 2)], ["0100", "0100"]);
  assertEquals(hex(fwCfg.file("etc/boot-fail-wait") ?? Uint8Array.of()), "05000000");
  assertEquals(new TextDecoder().decode(fwCfg.file("bootorder")), "/a\n/b\0");
});

/** A bzImage's header and some bytes of kernel. */
function bzImage(protocol: number, extraFlags: number, initrdMaximum: number): Uint8Array {
  const bytes = Uint8Array.from({ length: 16384 }, (_, index) => index < 2560 ? 0 : index & 0xff);
  const view = new DataView(bytes.buffer);
  view.setUint8(0x1f1, 4);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, protocol, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, initrdMaximum, true);
  view.setUint16(0x236, extraFlags, true);
  return bytes;
}

Deno.test("a kernel's items are those of QEMU: addresses, sizes, patched setup header", () => {
  const fwCfg = new FwCfg(new BytesMemory(0));
  const kernel = bzImage(0x20f, 0, 0x7fffffff);
  const initrd = new Uint8Array(5000).fill(0x49);
  addLinuxItems(fwCfg, {
    kernel,
    initrd,
    commandLine: "console=ttyS0 foo",
    lowRamEnd: 0x10000000,
  });
  const u32 = (key: number) => item(fwCfg, key, 4);
  assertEquals([u32(0x07), u32(0x08)], ["00001000", "00360000"]);
  assertEquals([u32(0x0a), u32(0x0b)], ["00e0ff0f", "88130000"]);
  assertEquals([u32(0x13), u32(0x14)], ["00000200", "12000000"]);
  assertEquals([u32(0x16), u32(0x17)], ["00000100", "000a0000"]);
  assertEquals(item(fwCfg, 0x11, 13824), hex(kernel.subarray(2560)));
  assertEquals(item(fwCfg, 0x12, 5000), hex(initrd));
  assertEquals(item(fwCfg, 0x15, 18), hex(new TextEncoder().encode("console=ttyS0 foo\0")));
  const patched = kernel.slice(0, 2560);
  const patches: [number, number][] = [
    [0x210, 0xb0],
    [0x211, 0x81],
    [0x219, 0xe0],
    [0x21a, 0xff],
    [0x21b, 0x0f],
    [0x21c, 0x88],
    [0x21d, 0x13],
    [0x225, 0xfe],
    [0x22a, 0x02],
  ];
  for (const [offset, value] of patches) patched[offset] = value;
  assertEquals(item(fwCfg, 0x18, 2560), hex(patched));
  assertEquals(fwCfg.file("etc/boot/kernel"), kernel);
});

Deno.test("the initrd lies as high as kernel and RAM allow", () => {
  const place = (protocol: number, extraFlags: number, maximum: number, lowRamEnd: number) => {
    const fwCfg = new FwCfg(new BytesMemory(0));
    addLinuxItems(fwCfg, {
      kernel: bzImage(protocol, extraFlags, maximum),
      initrd: new Uint8Array(5000),
      commandLine: "",
      lowRamEnd,
    });
    return item(fwCfg, 0x0a, 4);
  };
  assertEquals(place(0x20f, 0, 0x37ffffff, 0x80000000), "00e0ff37");
  assertEquals(place(0x20f, 2, 0x7fffffff, 0x80000000), "00e0ff7f");
  assertEquals(place(0x20f, 2, 0x7fffffff, 0xc0000000), "00e0ffbf");
  assertEquals(place(0x203, 0, 0x7fffffff, 0x10000000), "00e0ff0f");
  assertEquals(place(0x202, 0, 0, 0x80000000), "00e0ff37");
});

Deno.test("a file that firmware could not boot is refused", () => {
  const add = (kernel: Uint8Array, initrd?: Uint8Array) =>
    addLinuxItems(new FwCfg(new BytesMemory(0)), {
      kernel,
      initrd,
      commandLine: "",
      lowRamEnd: 0x10000,
    });
  assertThrows(() => add(new Uint8Array(100)), RangeError, "not a Linux bzImage");
  assertThrows(() => add(bzImage(0x201, 0, 0)), RangeError, "too old");
  assertThrows(() => add(bzImage(0x20f, 0, 0).subarray(0, 1000)), RangeError, "truncated");
  assertThrows(
    () => add(bzImage(0x20f, 0, 0x7fffffff), new Uint8Array(0x10000)),
    RangeError,
    "the initrd is too large",
  );
});

Deno.test("a PVH kernel's items are those of QEMU with -m 64", () => {
  const fwCfg = new FwCfg(new BytesMemory(0));
  const kernel = new Uint8Array(9000).fill(0xee);
  addPvhItems(fwCfg, {
    kernel,
    entry: 0x100000,
    start: 0x100000,
    end: 0x11feb0,
    initrd: new Uint8Array(1259).fill(0xdd),
    commandLine: "hello world",
    lowRamEnd: 0x4000000,
  });
  assertEquals(item(fwCfg, 0x07, 4), "00001000");
  assertEquals(item(fwCfg, 0x08, 4), "b0fe0100");
  assertEquals(item(fwCfg, 0x10, 4), "00001000");
  assertEquals(item(fwCfg, 0x0a, 4), "00f0ff03");
  assertEquals(item(fwCfg, 0x0b, 4), "eb040000");
  assertEquals(item(fwCfg, 0x12, 2), "dddd");
  assertEquals(item(fwCfg, 0x14, 4), "0c000000");
  assertEquals(item(fwCfg, 0x15, 12), hex(new TextEncoder().encode("hello world\0")));
  assertEquals(item(fwCfg, 0x17, 4), "00200000");
  assertEquals(item(fwCfg, 0x18, 3), "eeeeee");
});

Deno.test("an initrd that does not fit beside a PVH kernel is refused", () => {
  const fwCfg = new FwCfg(new BytesMemory(0));
  const items = { kernel: new Uint8Array(64), entry: 0x100000, start: 0x100000, end: 0x200000 };
  assertThrows(
    () =>
      addPvhItems(fwCfg, {
        ...items,
        initrd: new Uint8Array(0x100000),
        commandLine: "",
        lowRamEnd: 0x280000,
      }),
    RangeError,
    "the initrd has no place",
  );
});
