/** virtio-net over stream and datagram sockets: frames, filters, control queue, moves. */
import { assert, assertEquals, assertLess, assertRejects, assertThrows } from "@std/assert";
import type { NetdevConfig } from "../../../../src/configuration/network.ts";
import { Register } from "../../../../src/devices/virtio/mmio_registers.ts";
import { Descriptor } from "../../../../src/native/descriptor.ts";
import { awaitChild, kill, spawn } from "../../../../src/native/process.ts";
import { receive, send, socketPair } from "../../../../src/native/socket.ts";
import { content, frameTo, join, type NetDriver } from "../../../support/net_driver.ts";
import { patience } from "../../../support/patience.ts";
import { TemporaryDirectory } from "../../../support/temporary_directory.ts";
import { allFeatures, EVENT_INDEX, VERSION_1 } from "../../../support/virtio_driver.ts";
import { BROADCAST, CARD, NetBench, type NetBenchOptions } from "./net_bench.ts";

const OTHER = [0x52, 0x54, 0, 0x12, 0x34, 0x57];
const GROUP = [0x33, 0x33, 0, 0, 0, 1];
const Control = { rx: 0, mac: 1, vlan: 2, announce: 3, multiqueue: 4, offloads: 5 } as const;
const MERGED_BUFFERS = 1n << 15n;

/** The other side of a stream of frames, as passt speaks it. */
class StreamPeer implements Disposable {
  readonly socket: Descriptor;
  #bytes = new Uint8Array(0);

  constructor(socket: Descriptor) {
    this.socket = socket;
  }

  async write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      at += send(this.socket.fd, bytes.subarray(at)) ?? 0;
      await pause();
    }
  }

  send(frame: Uint8Array): Promise<void> {
    return this.write(prefixed(frame));
  }

  /** The next frame; `undefined`: the connection has ended. */
  async receive(): Promise<Uint8Array | undefined> {
    const signal = patience(10_000);
    for (;;) {
      const length = this.#bytes.length < 4
        ? Infinity
        : new DataView(this.#bytes.buffer, this.#bytes.byteOffset).getUint32(0);
      if (this.#bytes.length >= 4 + length) {
        const frame = this.#bytes.slice(4, 4 + length);
        this.#bytes = this.#bytes.slice(4 + length);
        return frame;
      }
      signal.throwIfAborted();
      const piece = new Uint8Array(65536);
      const got = receive(this.socket.fd, piece);
      if (got === undefined) await pause();
      else if (got.length === 0) return undefined;
      else this.#bytes = join([this.#bytes, piece.subarray(0, got.length)]);
    }
  }

  [Symbol.dispose](): void {
    this.socket[Symbol.dispose]();
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const signal = patience(10_000);
  while (!await condition()) {
    signal.throwIfAborted();
    await pause();
  }
}

function prefixed(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4 + frame.length);
  new DataView(bytes.buffer).setUint32(0, frame.length);
  bytes.set(frame, 4);
  return bytes;
}

/** A card whose stream is one end of a pair, given to the monitor by name. */
async function connectedCard(
  options: Omit<Partial<NetBenchOptions>, "netdev"> = {},
): Promise<{ card: NetBench; peer: StreamPeer }> {
  const [here, there] = socketPair();
  const netdev = stream({ kind: "fd", name: "passt" }, false);
  const card = await NetBench.open({ ...options, netdev, named: { passt: here } });
  return { card, peer: new StreamPeer(there) };
}

function stream(
  address: (NetdevConfig & { type: "stream" })["address"],
  server: boolean,
  reconnectMs = 0,
): NetdevConfig {
  return { id: "n0", type: "stream", server, address, reconnectMs };
}

/** The card hears of what the peer sends to `address`. */
async function hears(
  peer: StreamPeer,
  driver: NetDriver,
  address: readonly number[],
  bytes = content(50, 1),
): Promise<boolean> {
  // Broadcasts are let through throughout; they mark the end.
  const frame = frameTo(address, bytes);
  const mark = frameTo(BROADCAST, content(50, 200));
  await peer.send(frame);
  await peer.send(mark);
  const first = (await driver.received()).frame;
  if (String(first) === String(mark)) return false;
  assertEquals(first, frame);
  assertEquals((await driver.received()).frame, mark);
  return true;
}

for (const legacy of [false, true]) {
  for (const merged of [false, true]) {
    const features = allFeatures(merged ? 0n : MERGED_BUFFERS);
    const kind = `${legacy ? "legacy" : "modern"}, ${merged ? "merged" : "whole"} buffers`;
    Deno.test(`stream: frames go both ways, in order (${kind})`, async () => {
      const { card, peer } = await connectedCard({ legacy });
      await using _ = card;
      using __ = peer;
      const driver = await card.setUp({ features });
      const sizes = [14, 60, 61, 1514, 9000, 65500];
      for (const [i, size] of sizes.entries()) {
        await driver.send(frameTo(BROADCAST, content(size - 14, i)));
      }
      for (const [i, size] of sizes.entries()) {
        assertEquals(await peer.receive(), frameTo(BROADCAST, content(size - 14, i)));
      }
      for (const size of [14, 60, 1514]) await peer.send(frameTo(CARD, content(size - 14, size)));
      for (const size of [14, 60, 1514]) {
        const { frame, buffers } = await driver.received();
        assertEquals([frame, buffers], [frameTo(CARD, content(size - 14, size)), 1]);
      }
      // More than a buffer holds: over several, or not at all.
      await peer.send(frameTo(CARD, content(9000, 5)));
      await peer.send(frameTo(CARD, content(40, 6)));
      if (merged) {
        const { frame, buffers } = await driver.received();
        assertEquals([frame, buffers], [frameTo(CARD, content(9000, 5)), 5]);
      }
      assertEquals((await driver.received()).frame, frameTo(CARD, content(40, 6)));
      assertEquals(card.bench.messages, []);
    });
  }
}

Deno.test("stream: frames may arrive in pieces of any size, and more than there are buffers", async () => {
  const { card, peer } = await connectedCard();
  await using _ = card;
  using __ = peer;
  const driver = await card.setUp({ buffers: 4 });
  const frames = Array.from({ length: 20 }, (_, i) => frameTo(CARD, content(37 * i, i)));
  const bytes = join(frames.map(prefixed));
  const sending = (async () => {
    for (let at = 0, size = 1; at < bytes.length; at += size, size = size * 3 % 257) {
      await peer.write(bytes.slice(at, at + size));
    }
  })();
  for (const frame of frames) assertEquals((await driver.received()).frame, frame);
  await sending;
});

/** Nanoseconds of processor time that this process's threads named `name` have used. */
function processorTime(name: string): number {
  let time = 0;
  for (const { name: thread } of Deno.readDirSync("/proc/self/task")) {
    const place = `/proc/self/task/${thread}`;
    if (Deno.readTextFileSync(`${place}/comm`).trim() !== name) continue;
    time += Number(Deno.readTextFileSync(`${place}/schedstat`).split(" ")[0]);
  }
  return time;
}

/**
 * Fails if threads named `name` compute for more than a fifth of a while. Being runnable is not looked at:
 * on a machine with much to do, a thread that wakes now and then is that for long.
 */
async function assertAsleep(name: string): Promise<void> {
  const before = processorTime(name);
  await new Promise((resolve) => setTimeout(resolve, 400));
  assertLess(processorTime(name) - before, 80e6);
}

for (const events of [true, false]) {
  const kind = events ? "event index" : "flags";
  Deno.test(`a frame that needs more buffers than there are waits for them, asleep (${kind})`, async () => {
    const { card, peer } = await connectedCard();
    await using _ = card;
    using __ = peer;
    const features = allFeatures(events ? 0n : EVENT_INDEX);
    const driver = await card.setUp({ features, buffers: 3 });
    const frame = frameTo(CARD, content(9000, 1));
    await peer.send(frame);
    await assertAsleep("virtio-net");
    assertEquals(await driver.pending(), false);
    for (let i = 0; i < 2; i++) await driver.refill();
    const { frame: arrived, buffers } = await driver.received();
    assertEquals([arrived, buffers], [frame, 5]);
  });
}

Deno.test("stream: an impossible length ends the connection, not the card", async () => {
  const { card, peer } = await connectedCard();
  await using _ = card;
  using __ = peer;
  const driver = await card.setUp();
  await peer.write(Uint8Array.of(0x7f, 0xff, 0xff, 0xff));
  assertEquals(await peer.receive(), undefined);
  assertEquals(card.backend.description, "type=stream,");
  assertEquals(card.reported.length, 1);
  // As on a wire that leads nowhere.
  await driver.send(frameTo(BROADCAST, content(50, 1)));
});

Deno.test("stream: peers that trickle keep no machine from stopping, and are disconnected", async () => {
  await using owner = new AsyncDisposableStack();
  const cards = [];
  for (let i = 0; i < 4; i++) {
    const { card, peer } = await connectedCard();
    owner.use(card);
    using _ = peer;
    await card.setUp();
    await peer.write(prefixed(new Uint8Array(1500)).slice(0, 100));
    // A byte now and then, for minutes.
    const trickle = spawn(["sh", "-c", "while sleep 0.2; do printf x; done"], {
      descriptors: [[peer.socket.fd, 1]],
    });
    owner.defer(async () => {
      kill(trickle, 9);
      await awaitChild(trickle);
    });
    cards.push(card);
  }
  await pause();
  const begun = performance.now();
  for (const card of cards) card.bench.transport.runStateChanged(false);
  // One second for all of them; with as much for each byte it would be twenty minutes.
  assertLess(performance.now() - begun, 20_000);
  for (const card of cards) {
    await until(() => card.reported.length === 1);
    assertEquals(card.backend.description, "type=stream,");
    card.bench.transport.runStateChanged(true);
  }
});

Deno.test("stream: a client connects again, a server listens again", async () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("n0");
  const address = { kind: "unix", path, abstract: false } as const;
  await using server = await NetBench.open({ netdev: stream(address, true) });
  await using client = await NetBench.open({ netdev: stream(address, false, 5) });
  const [one, other] = [await server.setUp(), await client.setUp()];
  const speak = async (from: NetDriver, to: NetDriver, seed: number) => {
    const frame = frameTo(BROADCAST, content(100, seed));
    // What is sent before the connection stands is lost, as it is on a wire.
    await until(async () => {
      await from.send(frame);
      return await to.pending();
    });
    while (await to.pending()) assertEquals((await to.received()).frame, frame);
  };
  await speak(one, other, 1);
  await speak(other, one, 2);
  client.backend.lost(0);
  await until(() =>
    client.backend.port(0).kind === "none" || server.backend.port(0).kind === "none"
  );
  await until(() => client.backend.port(0).kind === "stream");
  await speak(one, other, 3);
  await speak(other, one, 4);
  await assertRejects(
    () => NetBench.open({ netdev: stream({ ...address, path: `${path}-none` }, false) }),
    Error,
    "Failed to connect",
  );
});

Deno.test("stream: a peer that does not read holds the transmit queue up, and nothing is lost", async () => {
  const { card, peer } = await connectedCard();
  await using _ = card;
  using __ = peer;
  const driver = await card.setUp();
  const frames = Array.from({ length: 120 }, (_, i) => frameTo(BROADCAST, content(9000, i)));
  const sending = (async () => {
    for (const frame of frames) await driver.send(frame);
  })();
  let stopped = false;
  for (const [i, frame] of frames.entries()) {
    if (i % 40 === 10) {
      // Stopping finds frames half sent. A peer that reads lets them go.
      const pending = peer.receive();
      card.bench.transport.runStateChanged(false);
      stopped = true;
      card.bench.transport.runStateChanged(true);
      assertEquals(await pending, frame);
    } else {
      assertEquals(await peer.receive(), frame);
    }
  }
  assert(stopped);
  await sending;
});

Deno.test("stream: a live update between two frames, in the middle of one, with frames waiting", async () => {
  const first = await connectedCard();
  const { peer } = first;
  using _ = peer;
  let card = first.card;
  const driver = await card.setUp({ buffers: 2 });
  const memory = card.bench.memory;
  const frames = Array.from({ length: 60 }, (_, i) => frameTo(CARD, content(100 + i, i)));
  const bytes = join(frames.map(prefixed));
  const ends = frames.map((_, i) => join(frames.slice(0, i + 1).map(prefixed)).length);
  const benches: NetBench[] = [card];
  const arrived: number[] = [];
  // What waited for buffers in a process that has ended may be lost, but nothing else, and no half frame.
  const look = async () => {
    while (await driver.pending()) {
      const { frame } = await driver.received();
      const index = frames.findIndex((other) => String(other) === String(frame));
      assert(index > (arrived.at(-1) ?? -1), `frame ${index} after ${arrived}`);
      arrived.push(index);
    }
  };
  try {
    let sent = 0;
    for (const piece of [3, 4, 5, 130, 119, 700, 1500, 1200, 1]) {
      await peer.write(bytes.slice(sent, sent + piece));
      sent += piece;
      // The card waits for the rest of a frame that it has begun to read.
      const end = ends.find((e) => e >= sent) ?? bytes.length;
      await peer.write(bytes.slice(sent, end));
      sent = end;
      const adopt = card.handOver();
      const saved = card.bench.save();
      const next = await NetBench.open({
        netdev: stream({ kind: "fd", name: "passt" }, false),
        memory,
        start: false,
        adopt,
      });
      benches.push(next);
      assert(next.backend.adopted);
      next.bench.load(saved);
      assertEquals(next.bench.save(), saved);
      next.bench.transport.runStateChanged(true);
      card = next;
      driver.driver.bus.read = next.bench.bus.read;
      driver.driver.bus.write = next.bench.bus.write;
      await look();
      const out = frameTo(BROADCAST, content(64, sent));
      await driver.send(out);
      assertEquals(await peer.receive(), out);
    }
    await peer.write(bytes.slice(sent));
    await until(async () => {
      await look();
      return arrived.at(-1) === frames.length - 1;
    });
    assert(arrived.length >= frames.length - benches.length, `${arrived}`);
  } finally {
    for (const bench of benches.reverse()) await bench[Symbol.asyncDispose]();
  }
});

Deno.test("datagrams: a frame each, between two cards", async () => {
  using directory = new TemporaryDirectory();
  const place = (name: string) =>
    ({ kind: "unix", path: directory.file(name), abstract: false }) as const;
  const open = (here: string, there: string) =>
    NetBench.open({
      netdev: { id: "n0", type: "dgram", local: place(here), remote: place(there) },
    });
  await using left = await open("left", "right");
  await using right = await open("right", "left");
  const [one, other] = [await left.setUp(), await right.setUp()];
  for (const size of [14, 1514, 9000]) {
    const frame = frameTo(CARD, content(size - 14, size));
    await one.send(frame);
    assertEquals((await other.received()).frame, frame);
    await other.send(frame);
    assertEquals((await one.received()).frame, frame);
  }
  const [here, there] = [directory.file("left"), directory.file("right")];
  assertEquals(left.backend.description, `type=dgram,udp=${here}:${there}`);
});

Deno.test("datagrams: where the other side takes no more, frames wait, asleep", async () => {
  using directory = new TemporaryDirectory();
  const place = (name: string) =>
    ({ kind: "unix", path: directory.file(name), abstract: false }) as const;
  const open = (here: string, there: string) =>
    NetBench.open({
      netdev: { id: "n0", type: "dgram", local: place(here), remote: place(there) },
    });
  await using left = await open("left", "right");
  await using right = await open("right", "left");
  const one = await left.setUp();
  const frames = Array.from({ length: 40 }, (_, i) => frameTo(CARD, content(100, i)));
  const sending = (async () => {
    for (const frame of frames) await one.send(frame);
  })();
  // Nobody reads at the other side: the socket takes a few frames.
  await assertAsleep("virtio-net");
  const other = await right.setUp();
  for (const frame of frames) assertEquals((await other.received()).frame, frame);
  await sending;
});

Deno.test("the filter: addresses, groups, VLANs, as the driver says", async () => {
  const { card, peer } = await connectedCard();
  await using _ = card;
  using __ = peer;
  const driver = await card.setUp();
  const mode = (command: number, on: boolean) =>
    driver.command(Control.rx, command, Uint8Array.of(Number(on)));
  const table = (unicast: number[][], multicast: number[][]) => {
    const list = (addresses: number[][]) => [
      addresses.length & 0xff,
      addresses.length >> 8,
      0,
      0,
      ...addresses.flat(),
    ];
    return driver.command(
      Control.mac,
      0,
      Uint8Array.from([...list(unicast), ...list(multicast)]),
    );
  };
  const heard = (address: readonly number[]) => hears(peer, driver, address);

  // Until the driver says otherwise everything is let through.
  assertEquals([await heard(CARD), await heard(OTHER), await heard(GROUP)], [true, true, true]);
  assert(await mode(0, false));
  assertEquals([await heard(CARD), await heard(OTHER), await heard(GROUP)], [true, false, false]);
  assert(await table([OTHER], [GROUP]));
  assertEquals([await heard(CARD), await heard(OTHER), await heard(GROUP)], [true, true, true]);
  assert(await mode(3, true)); // no multicast
  assertEquals(await heard(GROUP), false);
  assert(await mode(3, false));
  assert(await table([], []));
  assertEquals([await heard(OTHER), await heard(GROUP)], [false, false]);
  assert(await mode(1, true)); // all multicast
  assert(await mode(2, true)); // all unicast
  assertEquals([await heard(OTHER), await heard(GROUP)], [true, true]);
  assert(await mode(1, false));
  assert(await mode(2, false));
  assert(await mode(4, true)); // no unicast
  assertEquals(await heard(CARD), false);
  assert(await mode(4, false));

  // More addresses than there is room for: all of their kind.
  const many = Array.from({ length: 65 }, (_, i) => [0x33, 0x33, 1, 0, 0, i]);
  assert(await table([], many));
  assertEquals([await heard(GROUP), await heard(OTHER)], [true, false]);
  assert(await table([], []));

  // Another address for the card.
  assert(await driver.command(Control.mac, 1, Uint8Array.from(OTHER)));
  assertEquals([await heard(OTHER), await heard(CARD)], [true, false]);
  assertEquals([...card.device.address], OTHER);
  assertEquals(card.bench.transport.read(Register.config, 4), 0x12005452);

  // A tagged frame is for those who want its VLAN.
  const tagged = async (vlan: number) => {
    const frame = join([
      Uint8Array.from([...OTHER, 2, 0, 0, 0, 0, 1, 0x81, 0, vlan >> 8, vlan & 0xff, 8, 0]),
      content(46, vlan),
    ]);
    await peer.send(frame);
    const mark = frameTo(BROADCAST, content(50, 201));
    await peer.send(mark);
    const first = (await driver.received()).frame;
    if (String(first) === String(mark)) return false;
    await driver.received();
    return true;
  };
  assertEquals([await tagged(100), await tagged(0xfff)], [false, false]);
  assert(await driver.command(Control.vlan, 0, Uint8Array.of(100, 0)));
  assertEquals([await tagged(100), await tagged(101)], [true, false]);
  assert(await driver.command(Control.vlan, 1, Uint8Array.of(100, 0)));
  assertEquals(await tagged(100), false);
});

Deno.test("the control queue refuses what it does not understand, and goes on", async () => {
  const { card, peer } = await connectedCard();
  await using _ = card;
  using __ = peer;
  const driver = await card.setUp();
  const refused: readonly [number, number, number[]][] = [
    [Control.rx, 6, [1]],
    [Control.mac, 1, [1, 2, 3]],
    [Control.mac, 0, [1, 0, 0, 0, 1, 2, 3]],
    [Control.mac, 0, [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]],
    [Control.vlan, 0, [0, 0x10]],
    [Control.vlan, 2, [0, 0]],
    [Control.announce, 1, [0]],
    // One pair, and a backend without offloads.
    [Control.multiqueue, 0, [2, 0]],
    [Control.offloads, 0, [1, 0, 0, 0, 0, 0, 0, 0]],
    [77, 0, [1]],
  ];
  for (const [kind, command, data] of refused) {
    assertEquals(await driver.command(kind, command, Uint8Array.from(data)), false);
  }
  assert(await driver.command(Control.rx, 0, Uint8Array.of(1)));
  assertEquals(card.bench.messages, []);
});

Deno.test("a pulled cable loses frames and shows in the status", async () => {
  const { card, peer } = await connectedCard();
  await using _ = card;
  using __ = peer;
  const driver = await card.setUp();
  const status = () => card.bench.transport.read(Register.config + 6, 2);
  assertEquals(status(), 1);
  card.device.link = false;
  assertEquals(status(), 0);
  assertEquals(card.bench.interrupt.status & 2, 2);
  await driver.send(frameTo(BROADCAST, content(64, 1)));
  card.device.link = true;
  const frame = frameTo(BROADCAST, content(64, 3));
  await driver.send(frame);
  assertEquals(await peer.receive(), frame);
});

for (const legacy of [false, true]) {
  const kind = legacy ? "legacy" : "modern";
  Deno.test(`${kind}: a moved card goes on where it was, and announces itself to the network`, async () => {
    const first = await connectedCard({ legacy });
    await using _ = first.card;
    using __ = first.peer;
    const driver = await first.card.setUp();
    assert(await driver.command(Control.rx, 0, Uint8Array.of(0)));
    assert(await driver.command(Control.mac, 1, Uint8Array.from(OTHER)));
    assert(await driver.command(Control.vlan, 0, Uint8Array.of(7, 0)));
    for (let i = 0; i < 20; i++) {
      await driver.send(frameTo(BROADCAST, content(64, i)));
      await first.peer.receive();
      assert(await hears(first.peer, driver, OTHER));
    }
    const saved = first.card.bench.save();

    // To another place: a socket of its own.
    const [here, there] = socketPair();
    await using second = await NetBench.open({
      netdev: stream({ kind: "fd", name: "passt" }, false),
      named: { passt: here },
      memory: first.card.bench.memory,
      start: false,
      legacy,
    });
    using peer = new StreamPeer(there);
    second.bench.load(saved);
    assertEquals(second.bench.save(), saved);
    second.bench.transport.runStateChanged(true);
    driver.driver.bus.read = second.bench.bus.read;
    driver.driver.bus.write = second.bench.bus.write;
    // Link up, announce; the driver does so and acknowledges.
    assertEquals(await driver.driver.bus.read(driver.driver.base + Register.config + 6, 2), 3);
    assert(await driver.command(Control.announce, 0, new Uint8Array(1)));
    assertEquals(await driver.driver.bus.read(driver.driver.base + Register.config + 6, 2), 1);
    assertEquals([await hears(peer, driver, OTHER), await hears(peer, driver, CARD)], [
      true,
      false,
    ]);
    const frame = frameTo(BROADCAST, content(64, 77));
    await driver.send(frame);
    assertEquals(await peer.receive(), frame);
  });
}

Deno.test("a state that the card cannot have is refused", async () => {
  const { card, peer } = await connectedCard();
  await using _ = card;
  using __ = peer;
  await card.setUp();
  card.bench.transport.runStateChanged(false);
  const good = card.bench.transport.save();
  const load = (change: Partial<typeof good.device>) =>
    card.bench.transport.load({ ...good, device: { ...good.device, ...change } });
  load({});
  assertThrows(() => load({ hasVnetHdr: 1 }), Error, "vnet_hdr");
  assertThrows(() => load({ hasUfo: 1 }), Error, "UFO");
  assertThrows(
    () => card.bench.transport.load({ ...good, guestFeaturesEx: 1n }),
    Error,
    "unsupported",
  );
});

Deno.test("features as a card without tap offers them", async () => {
  const { card, peer } = await connectedCard();
  await using _ = card;
  using __ = peer;
  // As read from QEMU 11.1's registers, with -netdev stream.
  assertEquals(card.device.features(false), 0x101_30bf8024n);
  assertEquals(await card.bench.driver.offered() & VERSION_1, VERSION_1);
});
