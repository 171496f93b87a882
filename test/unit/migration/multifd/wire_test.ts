/** multifd's connections as QEMU wrote them (test/golden), and what no source would send. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { StreamChannel } from "../../../../src/channel/stream.ts";
import { RamBlock } from "../../../../src/memory/ram_block.ts";
import { MultifdReceiver } from "../../../../src/migration/multifd/receiver.ts";
import { writeGreeting } from "../../../../src/migration/multifd/greeting.ts";
import { Mapping } from "../../../../src/native/mapping.ts";
import type { Compression } from "../../../../src/native/multifd.ts";
import { socketPair } from "../../../../src/native/socket.ts";
import { fixture } from "../../../golden/fixtures.ts";
import { receiveRam } from "../../../support/receive_ram.ts";

const PAGE = 4096;

function createBlock(name: string, length: number, owner: DisposableStack): RamBlock {
  return owner.use(
    new RamBlock({
      name,
      backing: { kind: "private" },
      mapping: new Mapping({ kind: "anonymous" }, length, name),
    }),
  );
}

/** A channel on which `bytes` come, and then the end. */
function arriving(bytes: Uint8Array<ArrayBuffer>, owner: DisposableStack): StreamChannel {
  const [here, there] = socketPair();
  const source = new StreamChannel(there, true);
  // A receiver that refuses what comes closes the channel.
  source.write(bytes).catch(() => {}).finally(() => source[Symbol.dispose]());
  return owner.use(new StreamChannel(here, true));
}

/** Loads RAM from a main stream and multifd connections. */
async function load(options: {
  readonly main: Uint8Array<ArrayBuffer>;
  readonly connections: readonly Uint8Array<ArrayBuffer>[];
  readonly compression?: Compression["kind"];
  readonly blocks: readonly RamBlock[];
  readonly flushAfterEachSection?: boolean;
}): Promise<void> {
  using owner = new DisposableStack();
  const main = arriving(options.main, owner);
  await using multifd = new MultifdReceiver({
    channels: options.connections.map((bytes) => arriving(bytes, owner)),
    uuid: undefined,
    compression: options.compression ?? "none",
    failed: () => main.cancel(),
  });
  await multifd.greet();
  try {
    const { blocks, flushAfterEachSection = false } = options;
    await receiveRam({ channel: main, blocks, multifd, flushAfterEachSection });
  } catch (error) {
    throw multifd.failure ?? error;
  }
}

const guests: readonly [
  name: string,
  connections: number,
  compression: Compression["kind"],
  flushAfterEachSection: boolean,
][] = [
  ["tcp-multifd", 2, "none", false],
  ["tcp-multifd-legacyzero", 2, "none", false],
  ["tcp-multifd-oldflush", 2, "none", true],
  ["tcp-multifd-zlib", 2, "zlib", false],
  ["tcp-multifd-zstd", 2, "zstd", false],
];

/** The 8 MiB and the firmware of the machines in the golden files. */
function goldenBlocks(owner: DisposableStack): RamBlock[] {
  return [
    createBlock("microvm.ram", 8 << 20, owner),
    createBlock("pc.bios", 64 << 10, owner),
  ];
}

async function loadGolden(
  [name, count, compression, flushAfterEachSection]: typeof guests[number],
  owner: DisposableStack,
): Promise<RamBlock[]> {
  const blocks = goldenBlocks(owner);
  await load({
    main: await fixture(`${name}.ch0`),
    connections: await Promise.all(
      Array.from({ length: count }, (_, i) => fixture(`${name}.ch${i + 1}`)),
    ),
    compression,
    blocks,
    flushAfterEachSection,
  });
  return blocks;
}

for (const guest of guests) {
  Deno.test(`${guest[0]}: what QEMU sent arrives, firmware and memory`, async () => {
    using owner = new DisposableStack();
    const [memory, firmware] = await loadGolden(guest, owner);
    const expected = await loadGolden(guests[0]!, owner);
    assertEquals(firmware!.mapping.bytes, expected[1]!.mapping.bytes);
    // The firmware runs from its copy in RAM, and has printed something.
    assert(memory!.mapping.bytes.some((byte) => byte !== 0));
  });
}

Deno.test("a guest that wrote memory while it was sent on three connections arrives as it stopped", async () => {
  using owner = new DisposableStack();
  const [memory, firmware] = await loadGolden(["tcp-multifd-dirty", 3, "none", false], owner);
  const dump = await fixture("tcp-multifd-dirty.ram");
  // The dump shows guest-physical addresses, where the firmware hides the memory under it.
  memory!.mapping.bytes.set(firmware!.mapping.bytes, 0xf0000);
  assertEquals(memory!.mapping.bytes.findIndex((byte, i) => byte !== dump[i]), -1);
});

/** A packet's header; data has to follow. */
function packet(fields: {
  readonly magic?: number;
  readonly version?: number;
  readonly flags?: number;
  readonly slots?: number;
  readonly normal?: number;
  readonly length?: number;
  readonly zero?: number;
  readonly name?: string;
  readonly offsets?: readonly number[];
}): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(1344);
  const view = new DataView(bytes.buffer);
  const { normal = 0 } = fields;
  view.setUint32(0, fields.magic ?? 0x11223344);
  view.setUint32(4, fields.version ?? 1);
  view.setUint32(8, fields.flags ?? 0);
  view.setUint32(12, fields.slots ?? 128);
  view.setUint32(16, normal);
  view.setUint32(20, fields.length ?? normal * PAGE);
  view.setUint32(32, fields.zero ?? 0);
  bytes.set(new TextEncoder().encode(fields.name ?? "ram0"), 64);
  fields.offsets?.forEach((offset, i) => view.setBigUint64(320 + 8 * i, BigInt(offset)));
  return bytes;
}

function concatenate(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A main stream whose block list is followed by a flush. */
async function mainStream(): Promise<Uint8Array<ArrayBuffer>> {
  const { StreamWriter } = await import("../../../../src/migration/stream/stream_writer.ts");
  const writer = new StreamWriter();
  writer.begin({ machineType: "microvm", capabilities: [] });
  writer.beginRam("start", 1);
  writer.ram.blocks([{ name: "ram0", length: 64 * PAGE }]);
  writer.ram.multifdFlush();
  writer.endRam(1);
  writer.finish(false);
  return new Uint8Array(writer.take());
}

const sync = packet({ flags: 1, slots: 0, name: "" });
const page = new Uint8Array(PAGE).fill(7);

async function loadOne(
  connection: Uint8Array<ArrayBuffer>,
  block: RamBlock,
  compression: Compression["kind"] = "none",
): Promise<void> {
  await load({
    main: await mainStream(),
    connections: [concatenate(writeGreeting(0, undefined), connection)],
    compression,
    blocks: [block],
  });
}

Deno.test("packets put pages into place and clear zero ones, without touching memory that was never written", async () => {
  using owner = new DisposableStack();
  const block = createBlock("ram0", 64 * PAGE, owner);
  block.mapping.bytes.fill(1, 5 * PAGE, 6 * PAGE);
  await loadOne(
    concatenate(
      packet({ normal: 2, zero: 2, offsets: [3 * PAGE, 0, 5 * PAGE, 6 * PAGE] }),
      page,
      new Uint8Array(PAGE).fill(8),
      packet({ slots: 0, name: "" }),
      sync,
    ),
    block,
  );
  const firstBytes = Array.from({ length: 8 }, (_, i) => block.mapping.bytes[i * PAGE]);
  assertEquals(firstBytes, [8, 0, 0, 7, 0, 0, 0, 0]);
});

const refused: readonly [
  what: string,
  message: string,
  bytes: Uint8Array<ArrayBuffer>,
][] = [
  ["a magic", "multifd: received packet magic 1, expected 11223344", packet({ magic: 1 })],
  ["a version", "multifd: received packet version 2, expected 1", packet({ version: 2 })],
  ["flags", "multifd: received unknown flags 80", packet({ flags: 0x80, normal: 1 })],
  [
    "more slots",
    "multifd: received packet with 129 pages, expected 128",
    packet({ slots: 129, normal: 1 }),
  ],
  [
    "more pages",
    "multifd: received packet with 129 non-zero pages, which exceeds maximum expected pages 128",
    packet({ normal: 129 }),
  ],
  [
    "more zero pages",
    "multifd: received packet with 128 zero pages, expected maximum 127",
    packet({ normal: 1, zero: 128 }),
  ],
  [
    "zero pages that make a small sum",
    "multifd: received packet with 4294967295 zero pages, expected maximum 126",
    packet({ normal: 2, zero: 0xffffffff }),
  ],
  [
    "a compression that was not agreed on",
    "multifd: flags received 2 flags expected 0",
    packet({ flags: 2, normal: 1 }),
  ],
  [
    "less data than pages",
    "multifd: packet size received 4095 size expected 4096",
    packet({ normal: 1, length: 4095 }),
  ],
  ["data without pages", "multifd: expected empty packet", packet({ length: 1 })],
  [
    "a block that is not there",
    "multifd: unknown ram block ram1",
    packet({ normal: 1, name: "ram1" }),
  ],
  [
    "a block with a longer name",
    "multifd: unknown ram block ram00",
    packet({ normal: 1, name: "ram00" }),
  ],
  [
    "a page behind the block",
    "multifd: offset too long 262144 (max 40000)",
    packet({ normal: 1, offsets: [64 * PAGE] }),
  ],
  [
    "a zero page behind the block",
    "multifd: offset too long 262144 (max 40000)",
    packet({ normal: 1, zero: 1, offsets: [0, 64 * PAGE] }),
  ],
  [
    "half a page",
    "multifd: offset too long 2048 (max 40000)",
    packet({ normal: 1, offsets: [2048] }),
  ],
];

for (const [what, message, bytes] of refused) {
  Deno.test(`a packet with ${what} is refused, and nothing of it is applied`, async () => {
    using owner = new DisposableStack();
    const block = createBlock("ram0", 64 * PAGE, owner);
    const error = await assertRejects(
      () => loadOne(concatenate(bytes, page, page, sync), block),
      Error,
    );
    assertEquals(error.message, message);
    assert(block.mapping.bytes.every((byte) => byte === 0));
  });
}

Deno.test("data that does not decompress to the pages is refused", async () => {
  using owner = new DisposableStack();
  const block = createBlock("ram0", 64 * PAGE, owner);
  for (const [compression, flags] of [["zlib", 2], ["zstd", 4]] as const) {
    const data = new Uint8Array(50).fill(0x55);
    const received = (length: number) =>
      loadOne(
        concatenate(packet({ flags, normal: 1, length }), data, sync),
        block,
        compression,
      );
    await assertRejects(
      () => received(50),
      Error,
      "multifd: the data of a packet cannot be decompressed",
    );
    for (const length of [0, 1 << 20]) {
      await assertRejects(
        () => received(length),
        Error,
        `multifd: packet size received ${length} size expected 4096`,
      );
    }
  }
});

Deno.test("a connection that ends before a flush, or inside a packet, is an error", async () => {
  using owner = new DisposableStack();
  const block = createBlock("ram0", 64 * PAGE, owner);
  const whole = concatenate(packet({ normal: 1, offsets: [0] }), page);
  await assertRejects(
    () => loadOne(whole, block),
    Error,
    "a connection was closed before the pages were complete",
  );
  for (const length of [1, 1343, 1344, 1345, whole.length - 1]) {
    await assertRejects(() => loadOne(whole.slice(0, length), block), Error, "unexpected EOF");
  }
});

const greetings: readonly [what: string, message: string, bytes: Uint8Array<ArrayBuffer>][] = [
  [
    "another magic",
    "multifd: received packet magic 51223344 expected 11223344",
    altered(0, 0x51),
  ],
  ["another version", "multifd: received packet version 2 expected 1", altered(7, 2)],
  [
    "another machine's uuid",
    "multifd: received uuid '00000000-0000-0000-0000-0000000000ff' and expected uuid " +
    "'00000000-0000-0000-0000-000000000000' for channel 0",
    altered(23, 0xff),
  ],
  ["an id too high", "multifd: received channel id 7 exceeds channel count 2", altered(24, 7)],
  ["an id twice", "multifd: received id '1' already setup'", altered(24, 1)],
  [
    "an end in the middle",
    "multifd: a connection was closed before its greeting ended",
    writeGreeting(0, undefined).slice(0, 63),
  ],
];

/** A greeting of connection 0 with one byte changed. */
function altered(offset: number, value: number): Uint8Array<ArrayBuffer> {
  const bytes = writeGreeting(0, undefined);
  bytes[offset] = value;
  return bytes;
}

for (const [what, message, bytes] of greetings) {
  Deno.test(`a greeting with ${what} is refused in QEMU's words`, async () => {
    using owner = new DisposableStack();
    const channels = [writeGreeting(1, undefined), bytes].map((it) => arriving(it, owner));
    await using receiver = new MultifdReceiver({
      channels,
      uuid: undefined,
      compression: "none",
      failed: () => {},
    });
    const error = await assertRejects(() => receiver.greet(), Error);
    assertEquals(error.message, message);
  });
}

Deno.test("a thousand damaged packets: each is refused or applied within its block", async () => {
  using owner = new DisposableStack();
  const block = createBlock("ram0", 64 * PAGE, owner);
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  const main = await mainStream();
  for (let round = 0; round < 1000; round++) {
    const bytes = concatenate(
      writeGreeting(0, undefined),
      packet({ normal: 2, zero: 1, offsets: [0, PAGE, 2 * PAGE] }),
      page,
      page,
      sync,
    );
    for (let i = 0; i < 4; i++) bytes[64 + random(400)] = random(256);
    await load({ main, connections: [bytes], blocks: [block] }).catch((error) => {
      assert(error instanceof Error, `round ${round}`);
    });
  }
});
