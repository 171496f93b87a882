/** A page's way in: records of pages from a channel to memory, and what no source would send. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { StreamChannel } from "../../../../src/channel/stream.ts";
import type { RamBlock } from "../../../../src/memory/ram_block.ts";
import { MigrationError } from "../../../../src/migration/errors.ts";
import { RamReceiver } from "../../../../src/migration/ram_receiver.ts";
import { StreamReader } from "../../../../src/migration/stream/stream_reader.ts";
import { StreamWriter } from "../../../../src/migration/stream/stream_writer.ts";
import { GuestMemory } from "../../../../src/memory/guest_memory.ts";
import { socketPair } from "../../../../src/native/socket.ts";
import { VmStateError } from "../../../../src/vmstate/vmstate.ts";
import { receiveRam } from "../../../support/receive_ram.ts";
import { anonymousBlock, fillPage, memfdBlock, PAGE, pageOf } from "../mapped_ram/files.ts";

/** What is written between the block list and the end of the stream, in one section. */
type Records = (writer: StreamWriter) => void;

function streamOf(blocks: readonly RamBlock[], records: Records): StreamWriter {
  const writer = new StreamWriter();
  writer.begin({ machineType: "microvm", capabilities: [] });
  writer.beginRam("start", 1);
  writer.ram.blocks(blocks.map(({ name, usedLength: length }) => ({ name, length })));
  writer.endRam(1);
  writer.beginRam("end", 1);
  records(writer);
  return writer;
}

/** Loads a stream that comes over a socket, in pieces of `piece` bytes. */
async function load(
  blocks: readonly RamBlock[],
  records: Records,
  { whole = true, piece = Infinity } = {},
): Promise<void> {
  const writer = streamOf(blocks, records);
  if (whole) {
    writer.endRam(1);
    writer.finish(false);
  }
  const bytes = writer.take();
  const [here, there] = socketPair();
  using channel = new StreamChannel(here, true);
  const send = async () => {
    using source = new StreamChannel(there, true);
    for (let from = 0; from < bytes.length; from += piece) {
      await source.write(bytes.slice(from, from + piece));
    }
  };
  // Whoever refuses what comes closes the channel.
  await Promise.all([send().catch(() => {}), receiveRam({ channel, blocks })]);
}

for (const piece of [Infinity, 5000, 700]) {
  Deno.test(`pages, zero pages and differences are put into their blocks, in pieces of ${piece} bytes`, async () => {
    using ram = memfdBlock("ram", 300);
    using other = anonymousBlock("other", 4);
    using expected = memfdBlock("expected", 300);
    for (let page = 0; page < 300; page++) fillPage(expected, page, page);
    pageOf(ram, 7).fill(3);
    pageOf(expected, 7).fill(0);
    const changed = pageOf(expected, 9);
    const before = changed.slice();
    changed.set([1, 2], 3);
    await load([ram, other], ({ ram: records }) => {
      for (let page = 0; page < 300; page++) {
        const content = page === 9 ? before : pageOf(expected, page);
        if (page === 7) records.zeroPage("ram", page * PAGE);
        else records.page("ram", page * PAGE, content);
        if (page === 100) records.page("other", PAGE, pageOf(expected, page));
      }
      records.xbzrlePage("ram", 9 * PAGE, Uint8Array.of(3, 2, 1, 2));
    }, { piece });
    assertEquals(ram.mapping.bytes, expected.mapping.bytes);
    assertEquals(pageOf(other, 1), pageOf(expected, 100));
    assertEquals(pageOf(other, 0), new Uint8Array(PAGE));
  });
}

Deno.test("a zero page touches no memory that nobody wrote", async () => {
  using ram = memfdBlock("ram", 64);
  await load([ram], ({ ram: records }) => {
    for (let page = 0; page < 64; page++) records.zeroPage("ram", page * PAGE);
  });
  if (ram.backing.kind !== "descriptor") throw new Error(`memory is ${ram.backing.kind}`);
  assertEquals(Deno.statSync(`/proc/self/fd/${ram.backing.descriptor.fd}`).blocks, 0);
});

/** A record of a page of "ram" by hand. */
function header({ buffer }: StreamWriter, offset: bigint, flags: number, name?: string): void {
  buffer.u64(offset | BigInt(flags));
  if (name !== undefined) buffer.string8(name);
}

const refused: readonly [what: string, records: Records, reason: string][] = [
  [
    "an unknown block",
    (writer) => header(writer, 0n, 0x8, "ram1"),
    "Can't find block ram1",
  ],
  [
    "a block that continues none",
    (writer) => header(writer, 0n, 0x28),
    "Ack, bad migration stream!",
  ],
  [
    "an offset beyond the block",
    (writer) => header(writer, 0xffff_ffff_ffff_f000n, 0x8, "ram"),
    "Illegal RAM offset fffffffffffff000 in block ram",
  ],
  [
    "a page of fives",
    (writer) => {
      header(writer, 0n, 0x2, "ram");
      writer.buffer.u8(5);
    },
    "Found a zero page with value 5",
  ],
  [
    "another encoding",
    (writer) => {
      header(writer, 0n, 0x40, "ram");
      writer.buffer.u8(2);
    },
    "Failed to load XBZRLE page - wrong compression! (2)",
  ],
  [
    "a difference that is longer than a page",
    (writer) => {
      header(writer, 0n, 0x40, "ram");
      writer.buffer.u8(1);
      writer.buffer.u16(4097);
    },
    "Failed to load XBZRLE page - len overflow! (4097)",
  ],
  [
    "a difference that makes no sense",
    (writer) => writer.ram.xbzrlePage("ram", 0, Uint8Array.of(3)),
    "Failed to load XBZRLE page - decode error!",
  ],
  [
    "a record of no kind",
    (writer) => header(writer, 0n, 0xa),
    "Unknown combination of migration flags: 0xa",
  ],
];

for (const [what, records, reason] of refused) {
  Deno.test(`refused in QEMU's words, with its place: ${what}`, async () => {
    using ram = memfdBlock("ram", 4);
    let offset = 0;
    const error = await assertRejects(
      () =>
        load([ram], (writer) => {
          offset = writer.offset;
          records(writer);
        }),
      VmStateError,
    );
    assertEquals(error.reason, reason);
    assertEquals(error.section, "ram/0");
    assert(error.offset !== undefined && error.offset >= offset, error.message);
    assertEquals(ram.mapping.bytes, new Uint8Array(4 * PAGE));
  });
}

Deno.test("what comes before a record that is refused, or cut off, is in place", async () => {
  using ram = memfdBlock("ram", 4);
  const page = new Uint8Array(PAGE).fill(1);
  for (const [first, last, reason] of [[0, 0x1000, "ret: -5"], [2, 0x5000, "Illegal RAM offset"]]) {
    const error = await assertRejects(
      () =>
        load([ram], (writer) => {
          writer.ram.page("ram", Number(first) * PAGE, page);
          header(writer, BigInt(Number(last)), 0x28);
          writer.buffer.raw(page.subarray(0, 100));
        }, { whole: false }),
      VmStateError,
    );
    assert(error.reason.includes(String(reason)), error.message);
    assertEquals(pageOf(ram, Number(first)), page);
    assertEquals(pageOf(ram, 1), new Uint8Array(PAGE));
  }
});

Deno.test("pages of memory that was handed over are refused, and so is a list that comes twice", async () => {
  using ram = memfdBlock("ram", 4);
  const receive = async (records: Records) => {
    const bytes = streamOf([ram], records).take();
    const [here, there] = socketPair();
    using channel = new StreamChannel(here, true);
    using _ = new StreamChannel(there, true);
    const reader = new StreamReader({ devices: () => undefined, bytes });
    const target = { blocks: [ram], memory: new GuestMemory([]) };
    using receiver = new RamReceiver({ target, channel, reader, handedOver: new Set(["ram"]) });
    for (let item = reader.next(); item; item = reader.next()) {
      if (item.kind === "ram") await receiver.take(item);
    }
  };
  const page = (writer: StreamWriter) => writer.ram.page("ram", 0, new Uint8Array(PAGE));
  await assertRejects(() => receive(page), MigrationError, "Can't find block ram");
  const list = (writer: StreamWriter) => writer.ram.blocks([{ name: "ram", length: 4 * PAGE }]);
  await assertRejects(() => receive(list), MigrationError, "the list of RAM blocks comes twice");
});
