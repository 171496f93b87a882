/** The devices whose queues are tortured: each with what its queues are for, and a proof that it works. */
import { assert, assertEquals } from "@std/assert";
import { BlockImage } from "../../src/backends/block/image.ts";
import { openNetworkBackend } from "../../src/backends/network/open.ts";
import { BuiltinRng } from "../../src/backends/rng.ts";
import { VirtioBalloon } from "../../src/devices/virtio/balloon.ts";
import { VirtioBlk } from "../../src/devices/virtio/blk.ts";
import type { VirtioDevice } from "../../src/devices/virtio/device.ts";
import { VirtioNet } from "../../src/devices/virtio/net.ts";
import { VirtioRng } from "../../src/devices/virtio/rng.ts";
import { VirtioSerial } from "../../src/devices/virtio/serial.ts";
import type { EventLoop } from "../../src/native/event_loop.ts";
import { receive, send, socketPair } from "../../src/native/socket.ts";
import { openFile } from "../../src/native/file.ts";
import { frameTo, NetDriver } from "../support/net_driver.ts";
import type { Random } from "../support/random.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { allFeatures, BlkDriver, blkHeader, VirtioDriver } from "../support/virtio_driver.ts";
import { ManualClock, MemoryBackend } from "../unit/devices/dependencies.ts";
import { blkDefaults, commonDefaults, netDefaults } from "../unit/devices/virtio/properties.ts";
import { Workbench, type WorkbenchDependencies } from "../unit/devices/virtio/workbench.ts";

export const MEMORY_SIZE = 4 << 20;
const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/** Buffers of a request: content, and whether the device writes there. */
export type Buffers = readonly (readonly [content: Uint8Array, written: boolean])[];

/** A queue under torture. */
export interface Target {
  readonly name: string;
  readonly index: number;
  /** Features that must not be negotiated for it to be used. */
  readonly without?: bigint;
  /** Another queue that the trigger needs. */
  readonly helper?: number;
  /** Whether the device returns a request as soon as it can. */
  readonly returns: boolean;
  readonly request: (random: Random) => Buffers;
  readonly nonsense?: (random: Random) => Buffers;
  /** Has the device look at the queue, beyond the notification. */
  readonly trigger?: (driver: VirtioDriver) => void | Promise<void>;
}

/** A device on a workbench. */
export interface Subject extends AsyncDisposable {
  readonly name: string;
  readonly bench: Workbench<unknown>;
  readonly targets: readonly Target[];
  /** Sets the device up after a reset, and has it do what it is for. */
  prove(driver: VirtioDriver): Promise<void>;
}

export interface SubjectOptions {
  readonly legacy: boolean;
  readonly loop: EventLoop;
}

type Create = (options: SubjectOptions) => Promise<Subject>;

function out(content: Uint8Array): readonly [Uint8Array, boolean] {
  return [content, false];
}

function room(length: number): readonly [Uint8Array, boolean] {
  return [new Uint8Array(length), true];
}

function workbench(
  create: (dependencies: WorkbenchDependencies) => VirtioDevice<unknown>,
  { legacy, loop }: SubjectOptions,
): Workbench<unknown> {
  return new Workbench(create, { legacy, loop, memorySize: MEMORY_SIZE });
}

/** A proof's driver accepts everything. */
async function begin(driver: VirtioDriver, except = 0n): Promise<void> {
  await driver.begin(allFeatures(except));
}

const createDisk: Create = (options) => {
  const directory = new TemporaryDirectory();
  const path = directory.file("disk");
  Deno.writeFileSync(path, new Uint8Array(1 << 20));
  const image = new BlockImage(
    "d0",
    {
      driver: "file",
      filename: path,
      locking: "off",
      aio: "threads",
      readOnly: false,
      autoReadOnly: false,
      direct: false,
      noFlush: true,
      discard: "unmap",
      detectZeroes: "off",
      forceShare: false,
    },
    () => undefined,
    {
      adopt: () => undefined,
      openPath: openFile,
      warn: () => {},
    },
  );
  const bench = workbench(
    ({ memory, loop }) => new VirtioBlk(image, blkDefaults, memory.devices, loop, { failed() {} }),
    options,
  );
  let round = 0;
  return Promise.resolve({
    name: "virtio-blk",
    bench,
    targets: [{
      name: "requests",
      index: 0,
      returns: true,
      request: (random) => {
        const header = out(blkHeader(random.pick([0, 1, 4, 8, 11, 13]), random.below(2100)));
        const data = random.bytes(random.pick([16, 20, 512, 4096]));
        return [header, [data, header[0][0] === 0 || header[0][0] === 8], room(1)];
      },
      nonsense: (random) =>
        random.pick([
          [out(new Uint8Array(random.between(1, 15))), room(513)],
          [out(blkHeader(1, 0)), out(new Uint8Array(512))],
          [room(513)],
          // Too short to say what to discard.
          [out(blkHeader(random.pick([11, 13]), 0)), out(new Uint8Array(5)), room(1)],
        ]),
    }],
    prove: async (driver) => {
      await begin(driver);
      const disk = new BlkDriver(await driver.queue(0, 16));
      await driver.ready();
      const data = Uint8Array.from({ length: 512 }, (_, i) => i + round);
      const sector = round++ % 2048;
      assertEquals((await disk.request(1, sector, [{ out: data }])).status, 0);
      const read = await disk.request(0, sector, [{ in: 512 }], true);
      assertEquals([read.status, read.in[0]], [0, data]);
    },
    [Symbol.asyncDispose]: async () => {
      await bench[Symbol.asyncDispose]();
      image[Symbol.dispose]();
      directory[Symbol.dispose]();
    },
  });
};

const createCard: Create = async (options) => {
  const [here, peer] = socketPair();
  const backend = await openNetworkBackend(
    {
      id: "n0",
      type: "stream",
      server: false,
      reconnectMs: 0,
      address: { kind: "fd", name: "peer" },
    },
    {
      loop: options.loop,
      adopt: () => undefined,
      takeNamedDescriptor: () => here,
      report: () => {},
    },
  );
  const cards: VirtioNet[] = [];
  const bench = workbench(({ loop }) => {
    const card = new VirtioNet(backend, netDefaults, loop);
    cards.push(card);
    return card;
  }, options);
  const scrap = new Uint8Array(1 << 16);
  let round = 0;
  const sendFrame = (content: Uint8Array) => {
    const frame = frameTo(BROADCAST, content);
    const bytes = new Uint8Array(4 + frame.length);
    new DataView(bytes.buffer).setUint32(0, frame.length);
    bytes.set(frame, 4);
    assertEquals(send(peer.fd, bytes), bytes.length, "the card reads what its peer sends");
    return frame;
  };
  const drain = () => {
    while ((receive(peer.fd, scrap)?.length ?? 0) > 0);
  };
  const header = new Uint8Array(options.legacy ? 10 : 12);
  return {
    name: "virtio-net",
    bench,
    targets: [
      {
        name: "receive",
        index: 0,
        returns: true,
        request: (random) => [room(random.between(12, 100)), room(random.between(64, 2000))],
        nonsense: (random) => [room(random.between(1, 9))],
        trigger: () => {
          sendFrame(new Uint8Array(50));
        },
      },
      {
        name: "transmit",
        index: 1,
        returns: true,
        request: (random) => [out(new Uint8Array(12)), out(random.bytes(random.between(14, 2000)))],
        nonsense: (random) => [out(new Uint8Array(random.between(1, 9)))],
      },
      {
        name: "control",
        index: 2,
        returns: true,
        request: (random) => [
          out(Uint8Array.of(random.below(7), random.below(7))),
          out(random.bytes(random.between(1, 40))),
          room(1),
        ],
        nonsense: (random) =>
          random.pick([[out(new Uint8Array(1)), room(1)], [out(new Uint8Array(3))], [room(4)]]),
      },
    ],
    prove: async (driver) => {
      drain();
      // The cable is the host's matter, which a state may have pulled.
      for (const card of cards) card.link = true;
      const net = await NetDriver.begin(driver, { features: allFeatures(), buffers: 4 });
      assert(await net.command(0, 0, Uint8Array.of(1)));
      const content = new Uint8Array(50);
      new DataView(content.buffer).setUint32(0, ++round);
      const frame = String(sendFrame(content));
      // What came for queues before is still there.
      await net.receivedOf((received) => String(received) === frame);
      await net.send(frameTo(BROADCAST, content));
      assertEquals(header.length, net.headerSize === 12 ? header.length : 10);
    },
    [Symbol.asyncDispose]: async () => {
      await bench[Symbol.asyncDispose]();
      backend[Symbol.dispose]();
      peer[Symbol.dispose]();
    },
  };
};

const createRng: Create = (options) => {
  const bench = workbench(
    () =>
      new VirtioRng(
        new BuiltinRng(),
        { ...commonDefaults, maxBytes: Number.MAX_SAFE_INTEGER, period: 65536 },
        new ManualClock(),
      ),
    options,
  );
  return Promise.resolve({
    name: "virtio-rng",
    bench,
    targets: [{
      name: "requests",
      index: 0,
      returns: true,
      request: (random) => [room(random.between(1, 5000))],
    }],
    prove: async (driver) => {
      await begin(driver);
      const queue = await driver.queue(0, 8);
      await driver.ready();
      const { written, in: [bytes] } = await queue.request([{ in: 32 }]);
      assert(written === 32 && bytes?.some((byte) => byte !== 0));
    },
    [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
  });
};

const MULTIPORT = 1n << 1n;

const createSerial: Create = (options) => {
  const console = new MemoryBackend();
  const port = new MemoryBackend();
  const bench = workbench(() =>
    new VirtioSerial({ ...commonDefaults, maxPorts: 4 }, [
      {
        number: 0,
        name: undefined,
        isConsole: true,
        backend: console,
        guestConnectionChanged: () => {},
      },
      {
        number: 1,
        name: "org.example",
        isConsole: false,
        backend: port,
        guestConnectionChanged: () => {},
      },
    ]), options);
  const control = (random: Random) => {
    const bytes = random.bytes(8);
    new DataView(bytes.buffer).setUint32(0, random.below(5), true);
    new DataView(bytes.buffer).setUint16(4, random.below(8), true);
    return bytes;
  };
  return Promise.resolve({
    name: "virtio-serial",
    bench,
    targets: [
      {
        name: "console input",
        index: 0,
        without: MULTIPORT,
        returns: true,
        request: (random) => [room(random.between(1, 300))],
        trigger: () => console.input(...new Uint8Array(20)),
      },
      {
        name: "console output",
        index: 1,
        returns: true,
        request: (random) => [out(random.bytes(random.between(1, 3000)))],
      },
      {
        name: "control input",
        index: 2,
        helper: 3,
        returns: true,
        request: (random) => [room(random.between(1, 64))],
        // The device is ready: it is notified of its ports.
        trigger: async (driver) => {
          const queue = await driver.queue(3, 16);
          await queue.add([{ out: Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 0) }]);
          await queue.notify();
        },
      },
      {
        name: "control output",
        index: 3,
        returns: true,
        request: (random) => [out(control(random))],
      },
      {
        name: "port output",
        index: 5,
        returns: true,
        request: (random) => [out(random.bytes(random.between(1, 3000)))],
      },
    ],
    prove: async (driver) => {
      await begin(driver, MULTIPORT);
      const input = await driver.queue(0, 16);
      const output = await driver.queue(1, 16);
      await driver.ready();
      console.output.length = 0;
      await output.request([{ out: Uint8Array.of(1, 2, 3) }]);
      assertEquals(console.output, [1, 2, 3]);
      // Behind what came for queues before.
      console.input(7, 8, 9);
      await input.add([{ in: 4000 }]);
      await input.notify();
      const { in: [bytes], written } = await input.completed();
      assertEquals([...bytes?.subarray(written - 3, written) ?? []], [7, 8, 9]);
    },
    [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
  });
};

const createBalloon: Create = (options) => {
  const clock = new ManualClock();
  const bench = workbench(() =>
    new VirtioBalloon(
      { ...commonDefaults, deflateOnOom: true, pagePoison: true, pollingInterval: 0 },
      MEMORY_SIZE,
      clock,
      { changed: () => {}, notDiscarded: () => {} },
    ), options);
  const pages = (random: Random) =>
    out(
      new Uint8Array(
        // Not those with rings in them.
        Uint32Array.from({ length: random.between(1, 64) }, () => random.between(900, 1500)).buffer,
      ),
    );
  return Promise.resolve({
    name: "virtio-balloon",
    bench,
    targets: [
      { name: "inflate", index: 0, returns: true, request: (random) => [pages(random)] },
      { name: "deflate", index: 1, returns: true, request: (random) => [pages(random)] },
      {
        name: "statistics",
        index: 2,
        returns: false,
        request: (random) => [out(random.bytes(10 * random.between(1, 20)))],
      },
    ],
    prove: async (driver) => {
      await begin(driver);
      const queue = await driver.queue(0, 16);
      await driver.ready();
      const page = 1000;
      bench.memory.guest.write(page * 4096, Uint8Array.of(1, 2, 3));
      await queue.request([{ out: new Uint8Array(Uint32Array.of(page).buffer) }]);
      assertEquals([...bench.memory.guest.read(page * 4096, 3)], [0, 0, 0]);
    },
    [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
  });
};

export const subjects: Readonly<Record<string, Create>> = {
  "virtio-blk": createDisk,
  "virtio-net": createCard,
  "virtio-rng": createRng,
  "virtio-serial": createSerial,
  "virtio-balloon": createBalloon,
};
