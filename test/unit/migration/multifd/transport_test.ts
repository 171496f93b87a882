/** Pages sent on several connections and received again, in all their forms. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { StreamChannel } from "../../../../src/channel/stream.ts";
import { GuestMemory } from "../../../../src/memory/guest_memory.ts";
import { RamBlock } from "../../../../src/memory/ram_block.ts";
import { MultifdReceiver } from "../../../../src/migration/multifd/receiver.ts";
import {
  type MultifdOptions,
  MultifdTransport,
} from "../../../../src/migration/multifd/transport.ts";
import { DirtyPages } from "../../../../src/migration/ram/dirty_pages.ts";
import { MainStreamTransport } from "../../../../src/migration/ram/main_stream.ts";
import { StreamWriter } from "../../../../src/migration/stream/stream_writer.ts";
import { ChannelCancelled } from "../../../../src/native/channel.ts";
import { Mapping } from "../../../../src/native/mapping.ts";
import { socketPair } from "../../../../src/native/socket.ts";
import { receiveRam } from "../../../support/receive_ram.ts";

const PAGE = 4096;
const PAGES = 3000;

function createBlock(name: string, owner: DisposableStack): RamBlock {
  return owner.use(
    new RamBlock({
      name,
      backing: { kind: "private" },
      mapping: new Mapping({ kind: "anonymous" }, PAGES * PAGE, name),
    }),
  );
}

/** Writes that nobody records: what is sent does not change here. */
const nothingWritten = {
  tracker: {
    start() {},
    stop() {},
    collect: () => Promise.resolve(),
    protect: () => Promise.resolve(),
    emptyRings() {},
  },
  memory: new GuestMemory([]),
};

/** The first range that is sent, and one more, have no zero pages. */
const FULL_PAGES = 400;

/** Fills pages with what compresses, what does not, and zeros; leaves some never written. */
function fill({ mapping: { bytes } }: RamBlock, seed: number): void {
  for (let page = 0; page < PAGES; page++) {
    const content = bytes.subarray(page * PAGE, (page + 1) * PAGE);
    switch ((page + seed) % 5) {
      case 0:
        crypto.getRandomValues(content);
        break;
      case 1:
        content.fill(page & 0xff);
        break;
      case 2:
        content[page % PAGE] = 1;
        break;
      case 3:
        content.fill(0);
        break;
    }
    if (page < FULL_PAGES) content[0] ||= 1;
  }
}

type Form = Pick<MultifdOptions, "compression" | "channels" | "flushAfterEachSection"> & {
  readonly zeroPages: MultifdOptions["zeroPages"]["kind"];
};

/** Sends two blocks in two passes, between which they change, and returns what arrived. */
async function roundTrip(blocks: readonly RamBlock[], form: Form, owner: DisposableStack) {
  const [here, there] = socketPair();
  const outgoing = owner.use(new StreamChannel(here, true));
  const incoming = owner.use(new StreamChannel(there, true));
  const connections: StreamChannel[] = [];
  const connect = () => {
    const [near, far] = socketPair();
    connections.push(owner.use(new StreamChannel(far, true)));
    return new StreamChannel(near, true);
  };
  const writer = new StreamWriter();
  const main = new MainStreamTransport({ writer, channel: outgoing, detectZero: true });
  const { zeroPages } = form;
  const refused = new AbortController();
  await using transport = new MultifdTransport({
    ...form,
    writer,
    connect,
    uuid: undefined,
    zeroPages: zeroPages === "in main stream" ? { kind: zeroPages, main } : { kind: zeroPages },
    signal: refused.signal,
  });
  await transport.open();

  const targets = blocks.map(({ name }) => createBlock(name, owner));
  // What was there before: zero pages must clear it.
  for (const target of targets) target.mapping.bytes.fill(0xee, 0, 100 * PAGE);
  await using multifd = new MultifdReceiver({
    channels: connections,
    uuid: undefined,
    compression: form.compression.kind,
    failed: () => incoming.cancel(),
  });
  const received = receive(incoming, multifd, targets, form.flushAfterEachSection);
  received.catch((error) => {
    refused.abort(error);
    outgoing.cancel();
  });

  using dirty = new DirtyPages(blocks, nothingWritten);
  dirty.start();
  const counts = { normal: 0, zero: 0 };
  const sweep = async () => {
    dirty.beginSweep();
    const worker = async () => {
      for (;;) {
        const range = dirty.next(200);
        if (range === undefined) return;
        await dirty.prepare(range);
        const { normal, zero } = await transport.send(range);
        counts.normal += normal;
        counts.zero += zero;
        dirty.done(range);
      }
    };
    await Promise.all(Array.from({ length: transport.parallel }, worker));
    await transport.synchronise();
  };
  writer.begin({ machineType: "microvm", capabilities: [] });
  writer.beginRam("start", 1);
  writer.ram.blocks(blocks.map(({ name, usedLength }) => ({ name, length: usedLength })));
  await transport.synchronise();
  writer.endRam(1);
  const flush = () => outgoing.write(writer.take());
  await flush();
  writer.beginRam("part", 1);
  await sweep();
  writer.endRam(1);
  await flush();
  blocks.forEach((block, i) => fill(block, 1 + i));
  for (const block of dirty.blocks) block.dirty.fill(true);
  writer.beginRam("end", 1);
  await sweep();
  writer.endRam(1);
  writer.finish(false);
  await flush();
  await received;
  return { targets, counts };
}

async function receive(
  channel: StreamChannel,
  multifd: MultifdReceiver,
  blocks: readonly RamBlock[],
  flushAfterEachSection: boolean,
): Promise<void> {
  await multifd.greet();
  await receiveRam({ channel, blocks, multifd, flushAfterEachSection });
}

const none = { kind: "none" } as const;
const forms: readonly [what: string, Form][] = [
  ["zero pages in packets", {
    compression: none,
    channels: 3,
    zeroPages: "in packets",
    flushAfterEachSection: false,
  }],
  ["zero pages in the main stream", {
    compression: none,
    channels: 2,
    zeroPages: "in main stream",
    flushAfterEachSection: false,
  }],
  ["zero pages as others, one connection", {
    compression: none,
    channels: 1,
    zeroPages: "not detected",
    flushAfterEachSection: false,
  }],
  ["zlib", {
    compression: { kind: "zlib", level: 1 },
    channels: 2,
    zeroPages: "in packets",
    flushAfterEachSection: false,
  }],
  ["zlib without compression, zero pages as others", {
    compression: { kind: "zlib", level: 0 },
    channels: 2,
    zeroPages: "not detected",
    flushAfterEachSection: false,
  }],
  ["zstd", {
    compression: { kind: "zstd", level: 1 },
    channels: 2,
    zeroPages: "in main stream",
    flushAfterEachSection: false,
  }],
  ["64 connections", {
    compression: none,
    channels: 64,
    zeroPages: "in packets",
    flushAfterEachSection: false,
  }],
  ["64 connections, zero pages in the main stream", {
    compression: none,
    channels: 64,
    zeroPages: "in main stream",
    flushAfterEachSection: false,
  }],
  ["no flush records", {
    compression: none,
    channels: 2,
    zeroPages: "in packets",
    flushAfterEachSection: true,
  }],
];

for (const [what, form] of forms) {
  Deno.test(`${what}: pages arrive, the latest of each`, async () => {
    using owner = new DisposableStack();
    const blocks = [createBlock("ram0", owner), createBlock("pc.bios", owner)];
    blocks.forEach((block, i) => fill(block, i));
    const { targets, counts } = await roundTrip(blocks, form, owner);
    for (const [i, { mapping }] of blocks.entries()) {
      const arrived = targets[i]!.mapping.bytes;
      assertEquals(mapping.bytes.findIndex((byte, at) => byte !== arrived[at]), -1);
    }
    assertEquals(counts.normal + counts.zero, 4 * PAGES);
    assert(counts.zero > 0);
  });
}

Deno.test("a cancelled migration does not wait for connections that take nothing", async () => {
  using owner = new DisposableStack();
  const block = createBlock("ram0", owner);
  fill(block, 0);
  const cancelled = new AbortController();
  const writer = new StreamWriter();
  await using transport = new MultifdTransport({
    writer,
    connect: () => {
      const [near, far] = socketPair();
      owner.use(far);
      return new StreamChannel(near, true);
    },
    channels: 1,
    uuid: undefined,
    compression: none,
    zeroPages: { kind: "in packets" },
    flushAfterEachSection: false,
    signal: cancelled.signal,
  });
  await transport.open();
  using dirty = new DirtyPages([block], nothingWritten);
  dirty.start();
  dirty.beginSweep();
  const range = dirty.next(PAGES);
  if (range === undefined) throw new Error("nothing is dirty");
  const sending = transport.send(range);
  setTimeout(() => cancelled.abort(), 20);
  await assertRejects(() => sending, ChannelCancelled);
});
