import { assertEquals, assertThrows } from "@std/assert";
import { StreamError } from "../../../../src/migration/stream/errors.ts";
import {
  type RamFormat,
  type RamRecord,
  RamRecordReader,
} from "../../../../src/migration/stream/ram_records.ts";
import { RamRecordWriter } from "../../../../src/migration/stream/ram_writer.ts";
import { bitmapSize, placeMappedBlock } from "../../../../src/migration/stream/mapped_ram.ts";
import { OutOfDataError, StateReader, StateWriter } from "../../../../src/vmstate/vmstate.ts";

const plain: RamFormat = {
  ignoreShared: false,
  mappedRam: false,
  postcopy: false,
  hostPageSize: () => 4096,
};

/** Writes records with `write` and reads them back. */
function roundTrip(write: (ram: RamRecordWriter, raw: StateWriter) => void, format = plain) {
  const raw = new StateWriter();
  write(new RamRecordWriter(raw), raw);
  return readAll(raw.bytes, format);
}

function readAll(bytes: Uint8Array, format: RamFormat): RamRecord[] {
  const reader = new StateReader(bytes);
  const ram = new RamRecordReader(format);
  const records: RamRecord[] = [];
  while (reader.remaining > 0 || records.length === 0) {
    const record = ram.read(reader);
    if (record !== undefined && record.kind !== "continue at") records.push(record);
    // The last part of a block list needs no bytes.
    if (reader.remaining === 0 && record === undefined) {
      const last = ram.read(reader);
      if (last !== undefined && last.kind !== "continue at") records.push(last);
    }
  }
  return records;
}

const blocks = [{ name: "ram0", length: 65536 }, { name: "pc.bios", length: 8192 }];

function refused(write: (ram: RamRecordWriter, raw: StateWriter) => void, format = plain): string {
  return assertThrows(() => roundTrip(write, format), StreamError).reason;
}

Deno.test("a block list gives names and lengths that add up to the total", () => {
  const [list] = roundTrip((ram) => ram.blocks(blocks));
  if (list?.kind !== "blocks") throw new Error("no block list");
  assertEquals(list.total, 73728);
  assertEquals(list.blocks.map((block) => [block.name, block.length]), [
    ["ram0", 65536],
    ["pc.bios", 8192],
  ]);
});

Deno.test("with x-ignore-shared entries have addresses, with postcopy the size of huge pages", () => {
  const format = { ...plain, ignoreShared: true, postcopy: true, hostPageSize: () => 0x200000 };
  const entry = {
    name: "ram0",
    length: 65536,
    hostPageSize: 0x200000,
    guestAddress: 0x1_0000_0000,
  };
  const [list] = roundTrip((ram) => ram.blocks([entry]), format);
  if (list?.kind !== "blocks") throw new Error("no block list");
  assertEquals(list.blocks, [{ ...entry, mapped: undefined }]);
});

Deno.test("the block is named when it changes", () => {
  const raw = new StateWriter();
  const ram = new RamRecordWriter(raw);
  ram.blocks(blocks);
  const lengths = [];
  for (const [block, offset] of [["ram0", 0], ["ram0", 4096], ["pc.bios", 4096]] as const) {
    const before = raw.length;
    ram.zeroPage(block, offset);
    lengths.push(raw.length - before);
  }
  assertEquals(lengths, [14, 9, 17]);
  assertEquals(
    readAll(raw.bytes, plain).slice(1).map((record) =>
      record.kind === "zero page" && [record.block.name, record.offset]
    ),
    [["ram0", 0], ["ram0", 4096], ["pc.bios", 4096]],
  );
});

Deno.test("a record that is not complete changes nothing", () => {
  const raw = new StateWriter();
  const ram = new RamRecordWriter(raw);
  ram.blocks(blocks);
  const start = raw.length;
  ram.page("pc.bios", 0, new Uint8Array(4096));
  const reader = new StateReader(raw.bytes);
  const records = new RamRecordReader(plain);
  while (reader.offset < start) records.read(reader);
  records.read(reader);
  for (const length of [1, 9, 20, 4000]) {
    const part = new StateReader(raw.bytes.subarray(0, start + length), { offset: start });
    assertThrows(() => records.read(part), OutOfDataError);
  }
  const whole = new StateReader(raw.bytes, { offset: start });
  const record = records.read(whole);
  assertEquals(record?.kind === "page" && record.block.name, "pc.bios");
});

Deno.test("pages that cannot be placed are refused in QEMU's words", () => {
  assertEquals(
    refused((ram) => {
      ram.blocks(blocks);
      ram.zeroPage("ram1", 0);
    }),
    "Can't find block ram1",
  );
  assertEquals(
    refused((ram) => {
      ram.blocks(blocks);
      ram.zeroPage("pc.bios", 8192);
    }),
    "Illegal RAM offset 2000 in block pc.bios",
  );
  assertEquals(
    refused((ram, raw) => {
      ram.blocks(blocks);
      raw.u64(0x1000n | 0x22n);
    }),
    "Ack, bad migration stream!",
  );
  assertEquals(
    refused((ram, raw) => {
      ram.blocks(blocks);
      ram.zeroPage("ram0", 0);
      raw.u64(0xffff_ffff_ffff_f000n | 0x22n);
    }),
    "Illegal RAM offset fffffffffffff000 in block ram0",
  );
});

Deno.test("records that make no sense are refused in QEMU's words", () => {
  assertEquals(
    refused((ram, raw) => {
      ram.blocks(blocks);
      raw.u64Number(0x2);
      raw.string8("ram0");
      raw.u8(5);
    }),
    "Found a zero page with value 5",
  );
  assertEquals(
    refused((_, raw) => raw.u64Number(0x100)),
    "Unknown combination of migration flags: 0x100",
  );
  assertEquals(
    refused((_, raw) => raw.u64Number(0x00a)),
    "Unknown combination of migration flags: 0xa",
  );
  assertEquals(
    refused((_, raw) => raw.u64Number(0x1010)),
    "migration flags 0x10 come with address 0x1000",
  );
});

Deno.test("block lists that do not add up are refused", () => {
  const list = (total: number, entries: [string, number][]) =>
    refused((ram) => {
      ram.beginBlocks(total);
      for (const [name, length] of entries) ram.block({ name, length });
    });
  assertEquals(
    list(8192, [["a", 12288]]),
    "ramblock 'a' has 12288 bytes, of 8192 that are left of the total",
  );
  assertEquals(
    list(8192, [["a", 0]]),
    "ramblock 'a' has 0 bytes, of 8192 that are left of the total",
  );
  assertEquals(
    list(8192, [["a", 100]]),
    "ramblock 'a' has 100 bytes, of 8192 that are left of the total",
  );
  assertEquals(
    list(8192, [["a", 4096], ["a", 4096]]),
    "ramblock 'a' is listed twice or is one of more than 4096",
  );
});

const mapped = { ...plain, mappedRam: true };

Deno.test("mapped-ram: a block's pages begin at a whole MiB behind its bitmap", () => {
  assertEquals(bitmapSize(8 << 20), 256);
  assertEquals(bitmapSize(4096), 8);
  assertEquals(placeMappedBlock(0x8c, 8 << 20), {
    bitmapOffset: 0x8c,
    bitmapSize: 0x100,
    pagesOffset: 0x100000,
  });
});

Deno.test("mapped-ram: reading goes on behind the pages, and a block without place is skipped", () => {
  const raw = new StateWriter();
  const ram = new RamRecordWriter(raw);
  ram.beginBlocks(12288);
  ram.mappedBlock({ name: "shared", length: 4096 }, undefined);
  const place = placeMappedBlock(raw.length + 13 + 28, 8192);
  ram.mappedBlock({ name: "ram", length: 8192 }, place);
  const reader = new StateReader(raw.bytes);
  const records = new RamRecordReader(mapped);
  const seen = Array.from({ length: 4 }, () => records.read(reader));
  assertEquals(seen.slice(0, 3), [
    undefined,
    undefined,
    { kind: "continue at", offset: place.pagesOffset + 8192 },
  ]);
  const list = seen[3];
  if (list?.kind !== "blocks") throw new Error("no block list");
  assertEquals(list.blocks.map((block) => block.mapped), [undefined, place]);
});

Deno.test("mapped-ram: headers are refused in QEMU's words", () => {
  const header = (version: number, size: number, bitmap: number, pages: number) =>
    refused((ram, raw) => {
      ram.beginBlocks(4096);
      ram.block({ name: "ram", length: 4096 });
      raw.u32(version);
      for (const value of [size, bitmap, pages]) raw.u64Number(value);
    }, mapped);
  assertEquals(
    header(2, 4096, 0x100, 0x100000),
    "Migration mapped-ram capability version not supported (expected <= 1, got 2)",
  );
  assertEquals(
    header(1, 8192, 0x100, 0x100000),
    "Migration mapped-ram header has invalid page_size 8192 (expected 4096)",
  );
  assertEquals(
    header(1, 4096, 0x100, 0x100004),
    "Error reading ramblock ram pages, region has bad alignment",
  );
  assertEquals(
    header(1, 4096, 0, 0x100000),
    "ramblock ram has its bitmap at 0x0 and its pages at 0x100000, over other data",
  );
  assertEquals(
    header(1, 4096, 0xfff8, 0xf000),
    "ramblock ram has its bitmap at 0xfff8 and its pages at 0xf000, over other data",
  );
});

Deno.test("mapped-ram: page records are refused", () => {
  const list = (ram: RamRecordWriter) => ram.beginBlocks(0);
  assertEquals(
    refused((ram) => {
      list(ram);
      ram.page("ram0", 0, new Uint8Array(4096));
    }, mapped),
    "Unexpected RAM flags: 8",
  );
  assertEquals(
    refused((ram) => {
      list(ram);
      ram.multifdFlush();
    }, mapped),
    "Unexpected RAM flags: 200",
  );
});
