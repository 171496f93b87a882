/**
 * virtio-net on tap interfaces, against this machine's own network stack. tap_test.ts runs these in a
 * network namespace of their own.
 */
import { createSocket, type Socket } from "node:dgram";
import { assert, assertEquals, assertGreater } from "@std/assert";
import type { NetdevConfig, TapConfig } from "../../../../src/configuration/network.ts";
import { duplicate } from "../../../../src/native/descriptor.ts";
import { TapQueue } from "../../../../src/native/tap.ts";
import { Register } from "../../../../src/devices/virtio/mmio_registers.ts";
import {
  arpReply,
  EtherType,
  parse,
  type ParsedFrame,
  Protocol,
  type Station,
  TCP_CHECKSUM,
  TcpFlag,
  tcpFrame,
  TRANSPORT_START,
  UDP_CHECKSUM,
  udpFrame,
} from "../../../support/internet.ts";
import {
  content,
  type FrameHeader,
  type NetDriver,
  noHeader,
} from "../../../support/net_driver.ts";
import { patience } from "../../../support/patience.ts";
import { CARD, NetBench, type NetBenchOptions } from "./net_bench.ts";

const guest: Station = { mac: CARD, ip: [10, 0, 0, 2] };
const HOST_IP = [10, 0, 0, 1];
const HOST = HOST_IP.join(".");
const GUEST = guest.ip.join(".");
const NEEDS_CHECKSUM = 1;
const Gso = { tcp4: 1, udpSegments: 5 } as const;

function ip(...args: string[]): string {
  const { success, stdout, stderr } = new Deno.Command("ip", { args }).outputSync();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** /sys shows the interfaces of another namespace. */
function interfaceState(name: string): { address: string; flags: string[] } {
  return JSON.parse(ip("-json", "link", "show", name))[0];
}

function netdev(
  source: TapConfig["source"],
  vnetHeader: TapConfig["vnetHeader"] = "auto",
): NetdevConfig {
  return { id: "n0", type: "tap", source, vnetHeader };
}

function interfaceOf(name: string, queues = 1): TapConfig["source"] {
  return { kind: "interface", name, queues, script: undefined, downscript: undefined };
}

/** The interface is up and has an address; its neighbour is the guest. Returns the host's station. */
function configure(name: string): Station {
  ip("link", "set", name, "up");
  ip("addr", "add", `${HOST}/24`, "dev", name);
  // TCP hands down small pieces to a peer that looks slow: it is not to, however busy this machine is.
  Deno.writeTextFileSync("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
  Deno.writeTextFileSync("/proc/sys/net/ipv4/tcp_min_tso_segs", "10");
  ip("neigh", "replace", GUEST, "lladdr", mac(CARD), "dev", name, "nud", "permanent");
  const { address } = interfaceState(name);
  return { mac: address.split(":").map((byte) => parseInt(byte, 16)), ip: HOST_IP };
}

function mac(address: readonly number[]): string {
  return address.map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** What a sender says of a frame whose checksum it leaves to the receiver. */
function offloaded(checksumOffset: number, gso?: { type: number; size: number }): FrameHeader {
  return {
    ...noHeader,
    flags: NEEDS_CHECKSUM,
    gsoType: gso?.type ?? 0,
    gsoSize: gso?.size ?? 0,
    headerLength: gso ? TRANSPORT_START + (gso.type === Gso.tcp4 ? 20 : 8) : 0,
    checksumStart: TRANSPORT_START,
    checksumOffset,
  };
}

/** The next frame for which `wanted` holds, taken apart. */
async function next(
  driver: NetDriver,
  wanted: (frame: ParsedFrame) => boolean,
  pair = 0,
) {
  const received = await driver.receivedOf((frame) => wanted(parse(frame)), pair);
  return { ...received, parsed: parse(received.frame) };
}

/** A UDP socket of the host. */
class HostSocket implements Disposable {
  readonly port: number;
  readonly #socket: Socket;
  readonly #received: Uint8Array[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.port = socket.address().port;
    socket.on("message", (data) => this.#received.push(Uint8Array.from(data)));
  }

  static async open(): Promise<HostSocket> {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, HOST, resolve));
    return new HostSocket(socket);
  }

  /** To the guest. */
  send(data: Uint8Array, port: number): void {
    this.#socket.send(data, port, GUEST);
  }

  /** The next datagrams. */
  async receive(count: number): Promise<Uint8Array[]> {
    const signal = patience(10_000);
    while (this.#received.length < count) {
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return this.#received.splice(0, count);
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** A card on a tap interface, and the driver. */
async function tapCard(
  name: string,
  options: Partial<NetBenchOptions> & { pairs?: number } = {},
): Promise<{ card: NetBench; driver: NetDriver; host: Station }> {
  const { pairs = 1, ...rest } = options;
  const card = await NetBench.open({ netdev: netdev(interfaceOf(name, pairs)), ...rest });
  try {
    const host = configure(name);
    const driver = await card.setUp({ pairs, bufferSize: 4096 });
    return { card, driver, host };
  } catch (error) {
    await card[Symbol.asyncDispose]();
    throw error;
  }
}

for (const legacy of [false, true]) {
  const kind = legacy ? "legacy" : "modern";

  Deno.test(`tap, ${kind}: the host takes checksums off the guest, and the guest off the host`, async () => {
    const { card, driver, host } = await tapCard(`sum${kind}`, { legacy });
    await using _ = card;
    using socket = await HostSocket.open();
    const data = content(1000, 1);
    const ports = { from: 7000, to: socket.port };
    // A wrong checksum that nobody is asked to complete: the host drops it.
    await driver.send(udpFrame(guest, host, ports, content(100, 9)));
    await driver.send(udpFrame(guest, host, ports, data), offloaded(UDP_CHECKSUM));
    assertEquals(await socket.receive(1), [data]);

    socket.send(data, 7000);
    const { parsed, header } = await next(driver, ({ ports }) => ports.to === 7000);
    assertEquals([parsed.data, header.flags], [data, NEEDS_CHECKSUM]);
    assertEquals([header.checksumStart, header.checksumOffset], [TRANSPORT_START, UDP_CHECKSUM]);
    assertEquals(card.bench.messages, []);
  });
}

Deno.test("tap: segments of TCP are cut by the host, and those of the host come whole", async () => {
  const { card, driver, host } = await tapCard("tso");
  await using _ = card;
  const ours = { from: 8000, to: 0, sequence: 5000, acknowledge: 0 };
  const sum = offloaded(TCP_CHECKSUM);
  const connecting = Deno.connect({ hostname: GUEST, port: ours.from });
  const syn = (await next(driver, ({ flags }) => flags === TcpFlag.syn)).parsed;
  ours.to = syn.ports.from;
  ours.acknowledge = syn.sequence + 1;
  await driver.send(
    tcpFrame(guest, host, { ...ours, flags: TcpFlag.syn | TcpFlag.acknowledge }),
    sum,
  );
  using connection = await connecting;
  ours.sequence++;

  // One request of 20,000 bytes, in segments of 1000.
  const data = content(20_000, 3);
  await driver.send(
    tcpFrame(guest, host, { ...ours, flags: TcpFlag.acknowledge | TcpFlag.push, data }),
    offloaded(TCP_CHECKSUM, { type: Gso.tcp4, size: 1000 }),
  );
  ours.sequence += data.length;
  const arrived = new Uint8Array(data.length);
  for (let at = 0; at < arrived.length;) at += await connection.read(arrived.subarray(at)) ?? 0;
  assertEquals(arrived, data);

  // What the host sends is more than a segment, in several buffers.
  await connection.write(data);
  let largest = 0;
  for (let at = 0; at < data.length;) {
    const { parsed, header, buffers } = await next(
      driver,
      (frame) => frame.protocol === Protocol.tcp && frame.data.length > 0,
    );
    if (parsed.data.length > 1460) assertEquals(header.gsoType, Gso.tcp4);
    largest = Math.max(largest, buffers);
    const offset = (parsed.sequence - ours.acknowledge) >>> 0;
    if (offset !== at) continue; // sent again, since we are slow
    assertEquals(parsed.data, data.slice(at, at + parsed.data.length));
    at += parsed.data.length;
    await driver.send(
      tcpFrame(guest, host, {
        ...ours,
        acknowledge: (ours.acknowledge + at) >>> 0,
        flags: TcpFlag.acknowledge,
      }),
      sum,
    );
  }
  assertGreater(largest, 1);
});

Deno.test("tap: datagrams are cut by the host; without offloads the driver gets plain frames", async () => {
  const { card, driver, host } = await tapCard("uso");
  await using _ = card;
  using socket = await HostSocket.open();
  const ports = { from: 7000, to: socket.port };
  const data = content(5000, 4);
  await driver.send(
    udpFrame(guest, host, ports, data),
    offloaded(UDP_CHECKSUM, { type: Gso.udpSegments, size: 1000 }),
  );
  assertEquals(
    await socket.receive(5),
    [0, 1, 2, 3, 4].map((i) => data.slice(1000 * i, 1000 * (i + 1))),
  );

  // The control queue turns off what the driver can receive.
  assert(await driver.command(5, 0, new Uint8Array(8)));
  socket.send(content(100, 1), 7000);
  const { header } = await next(driver, ({ ports }) => ports.to === 7000);
  assertEquals(header.flags, 0);
});

Deno.test("tap: the host finds the guest by ARP", async () => {
  const { card, driver, host } = await tapCard("neighbour");
  await using _ = card;
  ip("neigh", "del", GUEST, "dev", "neighbour");
  using socket = await HostSocket.open();
  const data = content(30, 1);
  socket.send(data, 7000);
  await next(driver, ({ type }) => type === EtherType.arp);
  await driver.send(arpReply(guest, host));
  assertEquals((await next(driver, ({ ports }) => ports.to === 7000)).parsed.data, data);
});

Deno.test("tap without headers: a card without offloads", async () => {
  await using card = await NetBench.open({ netdev: netdev(interfaceOf("plain"), "off") });
  const host = configure("plain");
  // Those that -netdev stream has.
  assertEquals(card.device.features(false), 0x101_30bf8024n);
  const driver = await card.setUp();
  using socket = await HostSocket.open();
  const data = content(64, 1);
  socket.send(data, 7000);
  const { parsed, header } = await next(driver, ({ ports }) => ports.to === 7000);
  assertEquals([parsed.data, header.flags], [data, 0]);
  // RFC 768: no checksum.
  const frame = udpFrame(guest, host, { from: 7000, to: socket.port }, data);
  frame.fill(0, TRANSPORT_START + UDP_CHECKSUM, TRANSPORT_START + UDP_CHECKSUM + 2);
  await driver.send(frame);
  assertEquals(await socket.receive(1), [data]);
});

Deno.test("tap: two pairs of queues, of which the driver uses one until it says so", async () => {
  const { card, driver, host } = await tapCard("pairs", {
    pairs: 2,
    properties: { mq: true },
  });
  await using _ = card;
  using socket = await HostSocket.open();
  const ports = { from: 7000, to: socket.port };
  const data = content(64, 1);
  const frame = udpFrame(guest, host, ports, data);
  const sum = offloaded(UDP_CHECKSUM);
  await driver.send(frame, sum);
  assertEquals(await socket.receive(1), [data]);
  assertEquals(card.bench.transport.read(Register.config + 8, 2), 2);
  {
    // A queue that is detached goes over to a successor as well.
    const saved = card.bench.save();
    await using successor = await NetBench.open({
      netdev: netdev(interfaceOf("pairs", 2)),
      properties: { mq: true },
      memory: card.bench.memory,
      start: false,
      adopt: card.handOver(),
    });
    successor.bench.load(saved);
    assertEquals([successor.bench.save(), successor.backend.pairs], [saved, 2]);
    card.bench.transport.runStateChanged(true);
  }

  assertEquals(await driver.command(4, 0, Uint8Array.of(3, 0)), false);
  assert(await driver.command(4, 0, Uint8Array.of(2, 0)));
  await driver.send(frame, sum, 1);
  assertEquals(await socket.receive(1), [data]);
  // The host answers a flow where it came from: in the second pair, too.
  const seen = [0, 0];
  const signal = patience(10_000);
  for (let port = 9000; seen.includes(0); port++) {
    signal.throwIfAborted();
    socket.send(data, port);
    await new Promise((resolve) => setTimeout(resolve, 1));
    for (const pair of [0, 1]) {
      while (await driver.pending(pair)) {
        const { frame } = await driver.received(signal, pair);
        if (parse(frame).ports.to >= 9000) seen[pair]!++;
      }
    }
  }
  const saved = card.bench.save();
  const adopt = card.handOver();
  await using successor = await NetBench.open({
    netdev: netdev(interfaceOf("pairs", 2)),
    properties: { mq: true },
    memory: card.bench.memory,
    start: false,
    adopt,
  });
  successor.bench.load(saved);
  assertEquals(successor.bench.save(), saved);
});

for (const how of ["by name", "by descriptor"] as const) {
  Deno.test(`tap, ${how}: the interface goes over to a successor, which is not announced`, async () => {
    const name = how === "by name" ? "overname" : "overfd";
    let source = interfaceOf(name);
    if (how === "by descriptor") {
      using opened = TapQueue.open(name, { header: true, multiqueue: false });
      source = { kind: "descriptors", names: [String(duplicate(opened.fd).release())] };
    }
    await using first = await NetBench.open({ netdev: netdev(source) });
    const host = configure(name);
    const driver = await first.setUp();
    using socket = await HostSocket.open();
    const ports = { from: 7000, to: socket.port };
    const exchange = async (seed: number) => {
      const data = content(700, seed);
      await driver.send(udpFrame(guest, host, ports, data), offloaded(UDP_CHECKSUM));
      assertEquals(await socket.receive(1), [data]);
      socket.send(data, 7000);
      const { parsed } = await next(driver, ({ ports }) => ports.to === 7000);
      assertEquals(parsed.data, data);
    };
    await exchange(1);
    const description = () => ip("-details", "link", "show", name);
    const before = description();
    {
      // One that prepares and then fails leaves no trace.
      const state = first.bench.save();
      await using failing = await NetBench.open({
        netdev: netdev(source),
        memory: first.bench.memory,
        start: false,
        adopt: first.handOver(),
      });
      failing.bench.load(state);
      failing.bench.transport.reset();
    }
    assertEquals(description(), before);
    first.bench.transport.runStateChanged(true);
    await exchange(3);

    const adopt = first.handOver();
    const saved = first.bench.save();
    await using second = await NetBench.open({
      netdev: netdev(source),
      memory: first.bench.memory,
      start: false,
      adopt,
    });
    assert(second.backend.adopted);
    second.bench.load(saved);
    assertEquals(second.bench.save(), saved);
    // While nobody serves it, frames wait in the interface.
    const waiting = content(99, 5);
    socket.send(waiting, 7001);
    second.bench.transport.runStateChanged(true);
    driver.driver.bus.read = second.bench.bus.read;
    driver.driver.bus.write = second.bench.bus.write;
    const { parsed } = await next(driver, ({ ports }) => ports.to === 7001);
    assertEquals(parsed.data, waiting);
    assertEquals(second.bench.transport.read(Register.config + 6, 2), 1);
    await exchange(2);
  });
}

Deno.test("tap: a script sets the interface up; one that fails ends the start", async () => {
  const path = await Deno.makeTempFile();
  const source = (script: string): TapConfig["source"] => ({
    kind: "interface",
    name: "script",
    queues: 1,
    script,
    downscript: undefined,
  });
  try {
    await Deno.writeTextFile(path, '#!/bin/sh\nip link set "$1" up\n');
    await Deno.chmod(path, 0o755);
    await using card = await NetBench.open({ netdev: netdev(source(path)) });
    assertEquals(card.backend.pairs, 1);
    assert(interfaceState("script").flags.includes("UP"));
  } finally {
    await Deno.remove(path);
  }
  let message = "";
  try {
    await using _ = await NetBench.open({ netdev: netdev(source("/bin/false")) });
  } catch (error) {
    message = String(error);
  }
  assert(message.includes("network script /bin/false failed with status 1"), message);
});

Deno.test("tap: an interface that goes away is noticed, and the card lives", async () => {
  const { card, driver, host } = await tapCard("gone");
  await using _ = card;
  ip("link", "del", "gone");
  const signal = patience(10_000);
  while (card.reported.length === 0) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await driver.send(udpFrame(guest, host, { from: 1, to: 2 }, content(10, 1)));
  assertEquals(card.reported, ["-netdev tap,id=n0: the interface was removed"]);
});
