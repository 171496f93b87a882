import { assert, assertEquals } from "@std/assert";
import { applyXbzrle } from "../../src/migration/stream/xbzrle.ts";
import type { StreamReader } from "../../src/migration/stream/stream_reader.ts";
import { fixture } from "./fixtures.ts";
import { itemsOf, readerOf } from "./rewrite.ts";

const pageSize = 4096;

/** What a stream says of memory: the content of each block, and how many records of each kind it took. */
interface Memory {
  blocks: Map<string, Uint8Array>;
  records: Record<string, number>;
}

/** Applies all records of a stream to memory that is zero at first. */
function memoryOf(reader: StreamReader, file: Uint8Array): Memory {
  const blocks = new Map<string, Uint8Array>();
  const records: Record<string, number> = {};
  for (const item of itemsOf(reader)) {
    if (item.kind !== "ram") continue;
    const { record } = item;
    records[record.kind] = (records[record.kind] ?? 0) + 1;
    switch (record.kind) {
      case "blocks":
        for (const block of record.blocks) {
          const memory = new Uint8Array(block.length);
          blocks.set(block.name, memory);
          if (block.mapped === undefined) continue;
          const { bitmapOffset, pagesOffset } = block.mapped;
          for (let page = 0; page < block.length / pageSize; page++) {
            if (((file[bitmapOffset + (page >> 3)] ?? 0) & (1 << (page & 7))) === 0) continue;
            const from = pagesOffset + page * pageSize;
            memory.set(file.subarray(from, from + pageSize), page * pageSize);
          }
        }
        break;
      case "page":
        pageOf(blocks, record).set(reader.bytes.subarray(record.data, record.data + pageSize));
        break;
      case "zero page":
        pageOf(blocks, record).fill(0);
        break;
      case "xbzrle page":
        applyXbzrle(
          pageOf(blocks, record),
          reader.bytes.subarray(record.data, record.data + record.size),
        );
        break;
    }
  }
  return { blocks, records };
}

function pageOf(
  blocks: Map<string, Uint8Array>,
  record: { block: { name: string }; offset: number },
): Uint8Array {
  const block = blocks.get(record.block.name);
  if (block === undefined) throw new Error(`no block ${record.block.name}`);
  return block.subarray(record.offset, record.offset + pageSize);
}

/** The dump shows guest-physical addresses, where the firmware's last 64 KiB hide the memory under them. */
function assertShows(memory: Memory, dump: Uint8Array): void {
  const expected = memory.blocks.get("microvm.ram")?.slice();
  const firmware = memory.blocks.get("pc.bios");
  if (expected === undefined || firmware === undefined) throw new Error("a block is missing");
  expected.set(firmware.subarray(firmware.length - 0x10000), 0xf0000);
  assertEquals(dump.length, expected.length);
  assertEquals(dump.findIndex((byte, index) => byte !== expected[index]), -1);
}

for (
  const [name, kinds] of [
    ["guest-min-virtio-modern", ["page", "zero page"]],
    ["mapped-ram", []],
    ["mapped-ram-dirty", []],
    ["xbzrle", ["page", "xbzrle page", "zero page"]],
  ] as const
) {
  Deno.test(`${name}.mig: memory is as the guest had it, from ${kinds.join(", ") || "the file's pages"}`, async () => {
    const bytes = await fixture(`${name}.mig`);
    const memory = memoryOf(readerOf(bytes), bytes);
    for (const kind of kinds) assert((memory.records[kind] ?? 0) > 0, kind);
    assertShows(memory, await fixture(`${name}.ram`));
  });
}

Deno.test("mapped-ram written through several channels or with O_DIRECT holds the same firmware", async () => {
  const plain = await fixture("mapped-ram.mig");
  const firmware = memoryOf(readerOf(plain), plain).blocks.get("pc.bios");
  for (const name of ["mapped-ram-multifd.mig", "mapped-ram-multifd-directio.mig"]) {
    const bytes = await fixture(name);
    assertEquals(memoryOf(readerOf(bytes), bytes).blocks.get("pc.bios"), firmware);
  }
});

Deno.test("mapped-ram at an offset in its file: offsets count from the file's start", async () => {
  const bytes = await fixture("mapped-ram-offset8192.mig");
  const memory = memoryOf(readerOf(bytes, { offset: 8192 }), bytes);
  assertEquals(memory.blocks.size, 2);
  // The idle firmware ends with the jump at the reset vector.
  assert(memory.blocks.get("pc.bios")?.subarray(-16).some((byte) => byte !== 0));
});

Deno.test("x-ignore-shared: the list has addresses, and only blocks that are not shared have pages", async () => {
  const bytes = await fixture("ignore-shared.mig");
  const reader = readerOf(bytes);
  const sent = new Set<string>();
  for (const item of itemsOf(reader)) {
    if (item.kind !== "ram") continue;
    if (item.record.kind === "blocks") {
      assertEquals(
        item.record.blocks.map((block) => [block.name, block.guestAddress]),
        [["m0", 0], ["pc.bios", 0xffff0000]],
      );
    } else if ("block" in item.record) sent.add(item.record.block.name);
  }
  assertEquals([...sent], ["pc.bios"]);
});

Deno.test("x-ignore-shared with mapped-ram: a shared block has no place in the file", async () => {
  const bytes = await fixture("ignore-shared-mapped-ram.mig");
  for (const item of itemsOf(readerOf(bytes))) {
    if (item.kind !== "ram" || item.record.kind !== "blocks") continue;
    assertEquals(
      item.record.blocks.map((block) => [block.name, block.mapped !== undefined]),
      [["m0", false], ["pc.bios", true]],
    );
  }
});

Deno.test("cpr-transfer: all blocks are listed and no page is sent", async () => {
  const bytes = await fixture("cpr-transfer.main");
  const { blocks, records } = memoryOf(readerOf(bytes), bytes);
  assertEquals(
    [...blocks.keys()].sort(),
    ["/rom@etc/acpi/rsdp", "/rom@etc/acpi/tables", "/rom@etc/table-loader", "pc.bios", "ram0"],
  );
  assertEquals(Object.keys(records), ["blocks", "end of records"]);
});
