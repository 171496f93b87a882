import { assertEquals, assertThrows } from "@std/assert";
import { DeviceStateError } from "../../../src/devices/device.ts";
import { FwCfg, FwCfgKey } from "../../../src/devices/fw_cfg.ts";
import { migrate } from "./saved_state.ts";
import { BytesMemory } from "./dependencies.ts";

const MIB = 1 << 20;
const DESCRIPTOR = 0x1000;
const TARGET = 0x2000;
const READ = 2;
const SKIP = 4;
const SELECT = 8;
const WRITE = 16;

function device(memory = new BytesMemory(MIB)) {
  const fwCfg = new FwCfg(memory);
  const select = (key: number) => fwCfg.portRegion.write(0, 2, key);
  const read = (count: number) => Array.from({ length: count }, () => fwCfg.portRegion.read(1, 1));
  /** A transfer as a driver does it. Returns what the device left in the control field. */
  const dma = (control: number, length: number, address: number, descriptor = DESCRIPTOR) => {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, control);
    view.setUint32(4, length);
    view.setBigUint64(8, BigInt(address));
    memory.bytes.set(bytes, descriptor);
    fwCfg.dmaRegion.write(0, 4, 0);
    fwCfg.dmaRegion.write(4, 4, swapped(descriptor));
    return new DataView(memory.bytes.buffer).getUint32(descriptor);
  };
  const target = (length: number) => [...memory.bytes.slice(TARGET, TARGET + length)];
  return { fwCfg, memory, select, read, dma, target };
}

function swapped(value: number): number {
  return new DataView(Uint32Array.of(value).buffer).getUint32(0);
}

function text(bytes: number[]): string {
  return String.fromCharCode(...bytes).replace(/\0+$/, "");
}

Deno.test("signature, features and DMA signature show a driver what is there", () => {
  const { fwCfg, select, read } = device();
  assertEquals(text(read(4)), "QEMU", "the signature is selected after power-on");
  select(FwCfgKey.id);
  assertEquals(read(4), [3, 0, 0, 0]);
  assertEquals(fwCfg.dmaRegion.read(0, 4), 0x554d4551);
  assertEquals(fwCfg.dmaRegion.read(4, 4), 0x47464320);
  assertEquals(fwCfg.dmaRegion.read(2, 2), 0x554d);
});

Deno.test("an item is read byte by byte, and zeros after its end", () => {
  const { fwCfg, select, read } = device();
  fwCfg.addU16(FwCfgKey.cpuCount, 0x1234);
  select(FwCfgKey.cpuCount);
  assertEquals(read(4), [0x34, 0x12, 0, 0]);
  assertEquals(fwCfg.portRegion.read(0, 2), 0, "wide reads see nothing");
  select(0x7f);
  assertEquals(read(2), [0, 0]);
  select(FwCfgKey.cpuCount | 0x4000);
  assertEquals(read(2), [0x34, 0x12], "the write bit does not matter");
  fwCfg.portRegion.write(1, 1, 0xff);
  select(FwCfgKey.cpuCount);
  assertEquals(read(1), [0x34], "items cannot be written");
});

Deno.test("the directory lists files by name; their keys follow that order", () => {
  const { fwCfg, select, read } = device();
  fwCfg.addFile("opt/b", Uint8Array.of(1, 2, 3));
  fwCfg.addFile("etc/a", Uint8Array.of(4));
  select(FwCfgKey.fileDirectory);
  assertEquals(read(4), [0, 0, 0, 2]);
  const entry = () => {
    const [size, key] = [read(4), read(2)];
    read(2);
    return [size, key, text(read(56))];
  };
  assertEquals(entry(), [[0, 0, 0, 1], [0, 0x20], "etc/a"]);
  assertEquals(entry(), [[0, 0, 0, 3], [0, 0x21], "opt/b"]);
  select(0x21);
  assertEquals(read(4), [1, 2, 3, 0]);
  assertThrows(() => fwCfg.addFile("etc/a", Uint8Array.of()), RangeError, "duplicate");
  assertThrows(() => fwCfg.addFile("x".repeat(56), Uint8Array.of()), RangeError, "longer");
  assertThrows(() => fwCfg.add(0x20, Uint8Array.of()), RangeError, "0x20");
});

Deno.test("contents made on demand are made once, when they are read", () => {
  const { fwCfg, read, select } = device();
  let made = 0;
  fwCfg.addFile("lazy", { length: 2, make: () => (made++, Uint8Array.of(7, 8)) });
  select(FwCfgKey.fileDirectory);
  read(100);
  assertEquals(made, 0);
  select(0x20);
  assertEquals([read(3), made], [[7, 8, 0], 1]);
});

Deno.test("DMA selects, reads, skips, and goes on where the last transfer ended", () => {
  const { fwCfg, memory, dma, target } = device();
  fwCfg.addFile("file", Uint8Array.of(1, 2, 3, 4, 5, 6));
  memory.bytes.fill(0xaa, TARGET, TARGET + 16);
  assertEquals(dma((0x20 << 16) | SELECT | READ, 2, TARGET), 0);
  assertEquals(target(3), [1, 2, 0xaa]);
  assertEquals(dma(SKIP, 2, 0), 0);
  assertEquals(dma(READ, 4, TARGET), 0);
  assertEquals(target(5), [5, 6, 0, 0, 0xaa], "zeros after the end");
  assertEquals(dma((0x20 << 16) | SELECT, 4, TARGET), 0, "nothing but a selection");
  assertEquals(fwCfg.portRegion.read(1, 1), 1);
  assertEquals(dma(SKIP, 0xffffffff, 0), 0);
  assertEquals(dma(READ, 1, TARGET), 0);
  assertEquals(target(1), [0]);
});

Deno.test("DMA reports what it cannot do, and survives any address", () => {
  const { fwCfg, memory, dma } = device();
  fwCfg.addFile("file", Uint8Array.of(1, 2, 3, 4));
  const select = (0x20 << 16) | SELECT;
  assertEquals(dma(select | WRITE, 4, TARGET), 1);
  assertEquals(dma(select | READ, 4, MIB), 1);
  assertEquals(dma(select | READ, 4, 0xffff_ffff_0000), 1);
  assertEquals(dma(select | READ, 8, MIB - 2), 1);
  const before = memory.bytes.slice();
  fwCfg.dmaRegion.write(0, 4, swapped(0xffffffff));
  fwCfg.dmaRegion.write(4, 4, swapped(0xfffffff0));
  assertEquals(memory.bytes, before);
  // A descriptor that is only partly in RAM: the error goes to the part that is.
  fwCfg.dmaRegion.write(0, 4, 0);
  fwCfg.dmaRegion.write(4, 4, swapped(MIB - 8));
  assertEquals([...memory.bytes.slice(MIB - 8, MIB - 4)], [0, 0, 0, 1]);
});

Deno.test("a transfer larger than memory ends with an error, not with an allocation", () => {
  const { fwCfg, dma } = device();
  fwCfg.addFile("file", new Uint8Array(100));
  assertEquals(dma((0x20 << 16) | SELECT | READ, 0xffffffff, TARGET), 1);
});

Deno.test("selection, offset and half a DMA address move along", () => {
  const from = device();
  const to = device(from.memory);
  for (const { fwCfg } of [from, to]) fwCfg.addFile("file", Uint8Array.of(1, 2, 3, 4));
  from.select(0x20);
  from.read(2);
  from.fwCfg.dmaRegion.write(0, 4, swapped(1));
  migrate(from.fwCfg, to.fwCfg);
  assertEquals(to.read(3), [3, 4, 0]);
  // With the high half at 1 the descriptor lies beyond memory.
  const before = from.memory.bytes.slice();
  to.fwCfg.dmaRegion.write(4, 4, swapped(DESCRIPTOR));
  assertEquals(from.memory.bytes, before);
  to.fwCfg.reset();
  assertEquals(text(to.read(4)), "QEMU");
});

Deno.test("the ACPI files take the sizes of the state; one that does not fit is refused", () => {
  const files = ["etc/acpi/tables", "etc/table-loader", "etc/acpi/rsdp"];
  const from = device();
  files.forEach((name, index) => from.fwCfg.addFile(name, new Uint8Array(4096), 700 + index));
  const to = device();
  for (const name of files) to.fwCfg.addFile(name, new Uint8Array(4096), 0);
  migrate(from.fwCfg, to.fwCfg);
  assertEquals(files.map((name) => to.fwCfg.file(name)?.length), [700, 701, 702]);
  to.select(FwCfgKey.fileDirectory);
  to.read(4 + 64 + 2);
  assertEquals(to.read(2), [2, 700 & 0xff], "the directory knows the size of etc/acpi/tables");

  const small = device();
  for (const name of files) small.fwCfg.addFile(name, new Uint8Array(100));
  assertThrows(
    () => migrate(from.fwCfg, small.fwCfg),
    DeviceStateError,
    "etc/acpi/tables is 700 bytes in the saved state, but at most 100 here",
  );
  assertThrows(() => migrate(from.fwCfg, device().fwCfg), DeviceStateError, "etc/acpi/tables");
});
