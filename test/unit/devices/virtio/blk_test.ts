import { assert, assertEquals, assertThrows } from "@std/assert";
import { BlockImage } from "../../../../src/backends/block/image.ts";
import { DeviceBusyError } from "../../../../src/devices/device.ts";
import { type BlkProperties, VirtioBlk } from "../../../../src/devices/virtio/blk.ts";
import { Register } from "../../../../src/devices/virtio/mmio_registers.ts";
import type { VirtioBlkState } from "../../../../src/devices/virtio/blk_state.ts";
import type { DiskError } from "../../../../src/native/disk.ts";
import { openFile, OpenFlags } from "../../../../src/native/file.ts";
import type { BlockNode } from "../../../../src/configuration/block.ts";
import { patience } from "../../../support/patience.ts";
import { TemporaryDirectory } from "../../../support/temporary_directory.ts";
import {
  allFeatures,
  BlkDriver,
  blkHeader,
  EVENT_INDEX,
  VERSION_1,
} from "../../../support/virtio_driver.ts";
import { blkDefaults } from "./properties.ts";
import { Workbench, WORKBENCH_BASE, type WorkbenchMemory } from "./workbench.ts";

const MEBIBYTE = 1 << 20;
const Type = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
const Outcome = { ok: 0, ioError: 1, unsupported: 2 } as const;

const nodeDefaults = {
  readOnly: false,
  autoReadOnly: false,
  direct: false,
  noFlush: false,
  discard: "unmap",
  detectZeroes: "off",
  forceShare: false,
} as const;

function fileNode(filename: string, options: Partial<BlockNode> = {}): BlockNode {
  return {
    ...nodeDefaults,
    driver: "file",
    filename,
    locking: "auto",
    aio: "threads",
    ...options,
  } as BlockNode;
}

const noEnvironment = {
  adopt: () => undefined,
  openPath: openFile,
  warn: () => {},
};

/** The node of a -drive that names no format. */
function guessedNode(filename: string, options: Partial<BlockNode> = {}): BlockNode {
  const file = fileNode(filename, options);
  return { ...nodeDefaults, driver: "raw", offset: 0, probed: true, file };
}

/** An image of which only the device believes that it can be written. */
class UnwritableImage extends BlockImage {
  constructor(node: BlockNode) {
    super("d0", { ...node, readOnly: true } as BlockNode, () => undefined, noEnvironment);
    Object.defineProperty(this, "readOnly", { value: false });
  }
}

interface DiskOptions {
  readonly node: BlockNode;
  readonly properties?: Partial<BlkProperties>;
  readonly legacy?: boolean;
  readonly memory?: WorkbenchMemory;
  readonly start?: boolean;
  readonly errors?: DiskError[];
}

/** A disk on a workbench, and a driver that has set it up. */
class DiskBench implements AsyncDisposable {
  readonly image: BlockImage;
  readonly bench: Workbench<VirtioBlkState>;
  disk!: BlkDriver;
  device!: VirtioBlk;

  constructor({ node, properties, errors = [], ...options }: DiskOptions, image?: BlockImage) {
    this.image = image ?? new BlockImage("d0", node, () => undefined, noEnvironment);
    this.bench = new Workbench(({ memory, loop }) => {
      this.device = new VirtioBlk(
        this.image,
        { ...blkDefaults, ...properties },
        memory.devices,
        loop,
        { failed: (error) => errors.push(error) },
      );
      return this.device;
    }, options);
  }

  async setUp(wanted = allFeatures(), queueSize = 16): Promise<this> {
    const { driver } = this.bench;
    await driver.begin(wanted);
    const queue = await driver.queue(0, queueSize);
    await driver.ready();
    this.disk = new BlkDriver(queue);
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bench[Symbol.asyncDispose]();
    this.image[Symbol.dispose]();
  }
}

function pattern(length: number, seed: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 31 + (i >> 8)) & 0xff);
}

function imageFile(directory: TemporaryDirectory, size = MEBIBYTE): string {
  const path = directory.file("disk.img");
  Deno.writeFileSync(path, pattern(size, 1));
  return path;
}

for (const legacy of [false, true]) {
  const kind = legacy ? "legacy" : "modern";

  Deno.test(`${kind} transport: what is written is in the file, and is read back`, async () => {
    using directory = new TemporaryDirectory();
    const path = imageFile(directory);
    await using bench = await new DiskBench({ node: fileNode(path), legacy }).setUp();
    const data = pattern(4096, 9);
    assertEquals(await bench.disk.request(Type.out, 100, [{ out: data }]), {
      status: Outcome.ok,
      written: 1,
      in: [],
    });
    const read = await bench.disk.request(Type.in, 96, [{ in: 2048 }, { in: 8192 }]);
    assertEquals([read.status, read.written], [Outcome.ok, 10241]);
    const expected = pattern(MEBIBYTE, 1);
    expected.set(data, 51200);
    assertEquals(read.in[0], expected.slice(49152, 51200));
    assertEquals(read.in[1], expected.slice(51200, 59392));
    assertEquals(Deno.readFileSync(path), expected);
  });

  Deno.test(`${kind} transport: requests in indirect tables, several of them at once`, async () => {
    using directory = new TemporaryDirectory();
    const path = imageFile(directory);
    await using bench = await new DiskBench({ node: fileNode(path), legacy }).setUp();
    const { queue } = bench.disk;
    for (let i = 0; i < 10; i++) {
      await queue.add([{ out: blkHeader(Type.in, i * 8) }, { in: 4096 }, { in: 1 }], true);
    }
    await queue.notify();
    const expected = pattern(MEBIBYTE, 1);
    for (let i = 0; i < 10; i++) {
      const { in: [data, status], head } = await queue.completed();
      assertEquals(status, Uint8Array.of(Outcome.ok));
      assertEquals(data, expected.slice(head * 4096, (head + 1) * 4096));
    }
  });
}

Deno.test("buffers may be cut anywhere, also across two pieces of RAM", async () => {
  using directory = new TemporaryDirectory();
  const path = imageFile(directory);
  await using bench = await new DiskBench({ node: fileNode(path) }).setUp();
  const { queue } = bench.disk;
  const header = blkHeader(Type.in, 8);
  const done = await queue.request([
    { out: header.slice(0, 3) },
    { out: header.slice(3) },
    { in: 1000 },
    { in: 25 },
  ]);
  assertEquals(done.written, 1025);
  assertEquals(done.in[0], pattern(MEBIBYTE, 1).slice(4096, 5096));
  assertEquals(done.in[1]?.at(-1), Outcome.ok);

  // The seam at 1 MiB.
  const { driver } = bench.bench;
  const data = pattern(4096, 3);
  await driver.bus.writeMemory(MEBIBYTE - 1024, data);
  const place = driver.allocate(32);
  await driver.bus.writeMemory(place, blkHeader(Type.out, 0));
  await queue.describe(4, { address: place, length: 16, flags: 1, next: 5 });
  await queue.describe(5, { address: MEBIBYTE - 1024, length: 4096, flags: 1, next: 6 });
  await queue.describe(6, { address: place + 16, length: 1, flags: 2 });
  await queue.offer(4);
  await queue.notify();
  await queue.completed();
  assertEquals(Deno.readFileSync(path).slice(0, 4096), data);
});

Deno.test("flush, identification, discard, zeroes, and what is not understood", async () => {
  using directory = new TemporaryDirectory();
  const path = imageFile(directory);
  const node = fileNode(path);
  await using bench = await new DiskBench({
    node,
    properties: { serial: "molt-0123456789-abcdef" },
  })
    .setUp();
  const { disk } = bench;
  const segment = (sector: number, count: number, flags = 0) => {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt(sector), true);
    view.setUint32(8, count, true);
    view.setUint32(12, flags, true);
    return { out: bytes };
  };
  const outcome = async (
    type: number,
    sector: number,
    ...data: ({ out: Uint8Array } | { in: number })[]
  ) => (await disk.request(type, sector, data)).status;

  assertEquals(await outcome(Type.flush, 0), Outcome.ok);
  const { in: [id] } = await disk.request(Type.getId, 0, [{ in: 20 }]);
  assertEquals(new TextDecoder().decode(id), "molt-0123456789-abcd");

  assertEquals(await outcome(Type.writeZeroes, 0, segment(8, 8)), Outcome.ok);
  assertEquals(await outcome(Type.writeZeroes, 0, segment(64, 64, 1)), Outcome.ok);
  assertEquals(await outcome(Type.discard, 0, segment(256, 128)), Outcome.ok);
  const expected = pattern(MEBIBYTE, 1).fill(0, 4096, 8192).fill(0, 32768, 65536)
    .fill(0, 131072, 196608);
  assertEquals(Deno.readFileSync(path), expected);

  // Flags that mean nothing here, more than one segment, beyond the end.
  assertEquals(await outcome(Type.discard, 0, segment(0, 8, 1)), Outcome.unsupported);
  assertEquals(await outcome(Type.writeZeroes, 0, segment(0, 8, 2)), Outcome.unsupported);
  assertEquals(
    await outcome(Type.discard, 0, segment(0, 8), segment(8, 8)),
    Outcome.unsupported,
  );
  assertEquals(await outcome(Type.discard, 0, segment(2040, 9)), Outcome.ioError);
  assertEquals(await outcome(Type.in, 2048, { in: 512 }), Outcome.ioError);
  assertEquals(await outcome(Type.in, 2 ** 53 - 1, { in: 512 }), Outcome.ioError);
  assertEquals(await outcome(Type.in, 0, { in: 513 }), Outcome.ioError);
  assertEquals(await outcome(77, 0), Outcome.unsupported);
  assertEquals(await outcome(2, 0), Outcome.unsupported);
  assertEquals(Deno.readFileSync(path), expected);
  assertEquals(bench.bench.messages, []);
});

Deno.test("the configuration space describes size, blocks and limits", async () => {
  using directory = new TemporaryDirectory();
  const path = imageFile(directory);
  await using bench = await new DiskBench({ node: fileNode(path) }).setUp();
  // As read from QEMU 11.1 with an image of 1 MiB.
  const expected = "000800000000000000000000fe0000000200103f0002000000000000000000000100" +
    "0100ffff3f000100000001000000ffff3f000100000001";
  let actual = "";
  for (let offset = 0; offset < 57; offset++) {
    const byte = bench.bench.transport.read(Register.config + offset, 1);
    actual += byte.toString(16).padStart(2, "0");
  }
  assertEquals(actual, expected);
  assertEquals(bench.bench.transport.read(Register.config + 57, 1), 0xff);
  assertEquals(bench.bench.transport.read(Register.config + 56, 4), 0xffffffff);
});

for (const [legacy, features] of [[true, 0x100_3100_6ed4n], [false, 0x101_3000_6e54n]] as const) {
  Deno.test(`features as QEMU's ${legacy ? "legacy" : "modern"} device offers them`, async () => {
    using directory = new TemporaryDirectory();
    const node = fileNode(imageFile(directory));
    await using bench = new DiskBench({ node, legacy });
    // A legacy driver does not see the high ones.
    assertEquals(bench.device.features(legacy), features);
    const visible = legacy ? features & 0xffffffffn : features;
    assertEquals(await bench.bench.driver.offered(), visible);
  });
}

Deno.test("interrupts: by flag, and by event index only when the driver wants one", async () => {
  using directory = new TemporaryDirectory();
  const path = imageFile(directory);
  for (const features of [allFeatures(EVENT_INDEX), allFeatures()]) {
    await using bench = await new DiskBench({ node: fileNode(path) }).setUp(features);
    const { disk: { queue }, bench: { interrupt, bus } } = bench;
    const events = (features & EVENT_INDEX) !== 0n;
    const read = () => queue.request([{ out: blkHeader(Type.in, 0) }, { in: 512 }, { in: 1 }]);
    const asserted = async () => {
      const signal = patience(5000);
      while (interrupt.status === 0) {
        signal.throwIfAborted();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      interrupt.acknowledge(1);
      assertEquals(interrupt.status, 0);
    };
    await read();
    await asserted();
    // None from now on: by the flag, or by an index that is far ahead.
    if (events) await bus.writeMemory(queue.rings.available + 4 + 2 * queue.size, Uint8Array.of(9));
    else await bus.writeMemory(queue.rings.available, Uint8Array.of(1));
    await queue.add([{ out: blkHeader(Type.in, 0) }, { in: 512 }, { in: 1 }]);
    await queue.notify();
    while (await queue.usedIndex() < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    // What comes after it has been looked at, too.
    bench.bench.transport.runStateChanged(false);
    assertEquals(interrupt.status, 0);
    bench.bench.transport.runStateChanged(true);
    await queue.completed();
    await bus.writeMemory(queue.rings.available, Uint8Array.of(0));
    await read();
    await asserted();
  }
});

for (const [legacy, queues] of [[false, 1], [true, 2]] as const) {
  const name = `a failed write is kept, moved and done elsewhere (${queues} queues)`;
  Deno.test(name, async () => {
    using directory = new TemporaryDirectory();
    const path = imageFile(directory);
    const errors: DiskError[] = [];
    const properties = { writeError: "stop", queues } as const;
    const broken = new UnwritableImage(fileNode(path));
    await using source = await new DiskBench(
      { node: broken.node, properties, errors, legacy },
      broken,
    )
      .setUp();
    const { disk: { queue }, bench: { memory, transport } } = source;
    const data = pattern(1024, 5);
    await queue.add([{ out: blkHeader(Type.out, 4) }, { out: data }, { in: 1 }]);
    const failures = async (count: number) => {
      const signal = patience(5000);
      while (errors.length < count) {
        signal.throwIfAborted();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    };
    await queue.notify();
    await failures(1);
    assertEquals(errors, [{ operation: "write", action: "stop", errno: 9 }]);
    assertEquals(await queue.usedIndex(), 0);
    // Tried again when the machine goes on, and kept again.
    transport.runStateChanged(false);
    transport.runStateChanged(true);
    await failures(2);

    const saved = source.bench.save();
    await using target = new DiskBench({
      node: fileNode(path),
      properties,
      memory,
      legacy,
      start: false,
    });
    target.bench.load(saved);
    assertEquals(target.bench.save(), saved);
    target.bench.transport.runStateChanged(true);
    assertEquals((await queue.completed()).in, [Uint8Array.of(Outcome.ok)]);
    assertEquals(Deno.readFileSync(path).slice(2048, 3072), data);
  });
}

for (const [action, outcome] of [["report", Outcome.ioError], ["ignore", Outcome.ok]] as const) {
  Deno.test(`a failed write with werror=${action}`, async () => {
    using directory = new TemporaryDirectory();
    const errors: DiskError[] = [];
    const broken = new UnwritableImage(fileNode(imageFile(directory)));
    const properties = { writeError: action } as const;
    await using bench = await new DiskBench({ node: broken.node, properties, errors }, broken)
      .setUp();
    const data = [{ out: new Uint8Array(512) }];
    assertEquals((await bench.disk.request(Type.out, 0, data)).status, outcome);
    assertEquals((await bench.disk.request(Type.in, 0, [{ in: 512 }])).status, Outcome.ok);
    const signal = patience(5000);
    while (errors.length === 0) {
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assertEquals(errors.map((error) => error.action), [action]);
    assertEquals(bench.device.statistics.write.failed, 1);
    assertEquals(bench.device.statistics.read.operations, 1);
  });
}

Deno.test("reads of an image without file; latency does not hold up others", async () => {
  const node: BlockNode = {
    ...nodeDefaults,
    driver: "null-co",
    size: MEBIBYTE,
    readZeroes: true,
    latencyNs: 20_000_000,
  };
  await using bench = await new DiskBench({ node }).setUp();
  const { queue } = bench.disk;
  for (let i = 0; i < 4; i++) await queue.add([{ out: blkHeader(0, 0) }, { in: 512 }, { in: 1 }]);
  await queue.notify();
  for (let i = 0; i < 4; i++) {
    const { in: [data, status] } = await queue.completed();
    assertEquals(data, new Uint8Array(512));
    assertEquals(status, Uint8Array.of(0));
  }
});

Deno.test("the driver turns the write cache off and on", async () => {
  using directory = new TemporaryDirectory();
  await using bench = await new DiskBench({ node: fileNode(imageFile(directory)) }).setUp();
  const { transport } = bench.bench;
  assertEquals(transport.read(Register.config + 32, 1), 1);
  transport.write(Register.config + 32, 1, 0);
  assertEquals(transport.read(Register.config + 32, 1), 0);
  const { status } = await bench.disk.request(Type.out, 0, [{ out: new Uint8Array(512) }]);
  assertEquals(status, Outcome.ok);
  transport.write(Register.status, 4, 0);
  assertEquals(transport.read(Register.config + 32, 1), 1);
});

Deno.test("a driver without flush gets no cache that would need it", async () => {
  using directory = new TemporaryDirectory();
  const bench = new DiskBench({ node: fileNode(imageFile(directory)) });
  await using _ = await bench.setUp(VERSION_1);
  assertEquals(bench.bench.transport.read(Register.config + 32, 1), 0);
});

Deno.test("a moved disk goes on where it was, to the byte the same state", async () => {
  using directory = new TemporaryDirectory();
  const node = fileNode(imageFile(directory));
  await using source = await new DiskBench({ node }).setUp();
  const { disk, bench: { memory } } = source;
  for (let i = 0; i < 40; i++) {
    assertEquals((await disk.request(Type.in, i, [{ in: 512 }])).status, Outcome.ok);
  }
  const saved = source.bench.save();
  await using target = new DiskBench({ node, memory, start: false });
  target.bench.load(saved);
  assertEquals(target.bench.save(), saved);
  target.bench.transport.runStateChanged(true);
  // The same guest drives it: its rings are where they were.
  disk.queue.driver.bus.read = target.bench.bus.read;
  disk.queue.driver.bus.write = target.bench.bus.write;
  const moved = await disk.request(Type.in, 8, [{ in: 512 }]);
  assertEquals(moved.in[0], pattern(MEBIBYTE, 1).slice(4096, 4608));
});

Deno.test("a state that does not fit the memory or the device is refused", async () => {
  using directory = new TemporaryDirectory();
  const node = fileNode(imageFile(directory));
  await using source = await new DiskBench({ node }).setUp();
  await source.disk.request(Type.in, 0, [{ in: 512 }]);
  source.bench.transport.runStateChanged(false);
  const good = source.bench.transport.save();
  await using target = new DiskBench({ node, memory: source.bench.memory, start: false });
  const load = (change: (state: typeof good) => void) => {
    const state = structuredClone(good);
    change(state);
    target.bench.transport.load(state);
  };
  load(() => {});
  const [queue] = good.queues;
  assertThrows(() => load((s) => s.queues[0] = { ...queue!, lastAvailIdx: 4000 }), Error, "VQ 0");
  assertThrows(() => load((s) => s.queues[0] = { ...queue!, num: 4096 }), Error, "at most 256");
  assertThrows(
    () => load((s) => s.queues[0] = { ...queue!, desc: 1n << 40n }),
    Error,
    "not in RAM",
  );
  assertThrows(() => load((s) => s.guestFeatures = 1n << 33n), Error, "unsupported");
  assertThrows(() => load((s) => s.extra = undefined), Error, "force-legacy");
});

Deno.test("raw was guessed: the guest cannot make the disk look like another format's image", async () => {
  const qcow2 = pattern(8192, 2);
  qcow2.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
  for (const direct of [false, true]) {
    using directory = new TemporaryDirectory();
    const path = imageFile(directory);
    const errors: DiskError[] = [];
    const node = guessedNode(path, { direct });
    await using bench = await new DiskBench({ node, errors }).setUp();
    const write = async (sector: number, data: Uint8Array<ArrayBuffer>) =>
      (await bench.disk.request(Type.out, sector, [{ out: data }])).status;

    assertEquals(await write(0, qcow2), Outcome.ioError);
    assertEquals(Deno.readFileSync(path), pattern(MEBIBYTE, 1), "nothing of it is written");
    while (errors.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    assertEquals(errors, [{ operation: "write", action: "report", errno: 1 }]);
    // The same bytes elsewhere, and other bytes there, are no concern.
    assertEquals(await write(8, qcow2), Outcome.ok);
    assertEquals(await write(0, pattern(16384, 5)), Outcome.ok);
    const expected = pattern(MEBIBYTE, 1);
    expected.set(qcow2, 4096);
    expected.set(pattern(16384, 5));
    assertEquals(Deno.readFileSync(path), expected);
  }
});

Deno.test("an image that is known to be raw may look like anything", async () => {
  using directory = new TemporaryDirectory();
  const path = imageFile(directory);
  const node: BlockNode = { ...guessedNode(path), probed: false } as BlockNode;
  await using bench = await new DiskBench({ node }).setUp();
  const qcow2 = new Uint8Array(512);
  qcow2.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
  assertEquals((await bench.disk.request(Type.out, 0, [{ out: qcow2 }])).status, Outcome.ok);
  assertEquals(Deno.readFileSync(path).subarray(0, 512), qcow2);
});

Deno.test("an image of another format is refused where none was given, not one that was handed over", () => {
  using directory = new TemporaryDirectory();
  const path = imageFile(directory);
  const image = Deno.readFileSync(path);
  image.set(new TextEncoder().encode("vhdxfile"));
  Deno.writeFileSync(path, image);
  const warnings: string[] = [];
  const environment = { ...noEnvironment, warn: (text: string) => warnings.push(text) };
  const open = (node: BlockNode, more = {}) =>
    new BlockImage("d0", node, () => undefined, { ...environment, ...more });
  for (const direct of [false, true]) {
    assertThrows(
      () => open(guessedNode(path, { direct })),
      Error,
      "is an image of the format vhdx",
    );
  }
  // A live update: the guest has it as a raw disk already.
  using adopted = open(guessedNode(path), { adopt: () => openFile(path, OpenFlags.readWrite) });
  assertEquals(adopted.diskImage().probed, true);
  assertEquals(warnings, []);
  Deno.writeFileSync(path, new Uint8Array(512));
  using raw = open(guessedNode(path));
  assertEquals(raw.diskImage().probed, true);
  assertEquals(warnings.map((text) => text.split("\n")[0]), [
    `WARNING: Image format was not specified for '${path}' and probing guessed raw.`,
  ]);
});

Deno.test("QEMU's locks: one writer, or several readers", () => {
  using directory = new TemporaryDirectory();
  const path = imageFile(directory);
  const open = (node: BlockNode) => new BlockImage("d0", node, () => undefined, noEnvironment);
  using writer = open(fileNode(path));
  using other = open(fileNode(path));
  using reader = open(fileNode(path, { readOnly: true }));
  using second = open(fileNode(path, { readOnly: true }));
  writer.activate();
  assertThrows(() => other.activate(), Error, 'Failed to get "write" lock');
  assertThrows(() => reader.activate(), Error, 'Failed to get shared "write" lock');
  writer.inactivate();
  reader.activate();
  second.activate();
  assertThrows(() => writer.activate(), Error, 'Failed to get "write" lock');
});

/** The most memory that this process has had since the last call with `reset`, in bytes. */
function peakMemory(reset = false): number {
  if (reset) Deno.writeTextFileSync("/proc/self/clear_refs", "5");
  const kilobytes = Deno.readTextFileSync("/proc/self/status").match(/^VmHWM:\s+(\d+)/m)?.[1];
  return Number(kilobytes) * 1024;
}

for (const [type, flags] of [[Type.in, 2], [Type.out, 0]] as const) {
  const kind = type === Type.in ? "read" : "write";

  Deno.test(`cache=none: a ${kind} of 64 MiB in unaligned buffers takes 1 MiB of the host`, async () => {
    using directory = new TemporaryDirectory();
    const path = directory.file("disk.img");
    Deno.writeFileSync(path, new Uint8Array());
    Deno.truncateSync(path, 65 * MEBIBYTE);
    const node = fileNode(path, { direct: true });
    const properties = { logicalBlockSize: 4096, physicalBlockSize: 4096 };
    await using bench = await new DiskBench({ node, properties }).setUp();
    const { driver } = bench.bench;
    const { queue } = bench.disk;
    // One buffer of the guest, 64 times in a request: what grows is not the guest's memory.
    const header = driver.allocate(17);
    const table = driver.allocate(16 * 66);
    const buffer = 2 * MEBIBYTE + 1;
    await driver.bus.writeMemory(header, blkHeader(type, 0));
    await driver.bus.writeMemory(buffer, new Uint8Array(MEBIBYTE).fill(0x5a));
    await queue.describe(0, { address: header, length: 16, flags: 1, next: 1 }, table);
    for (let i = 1; i <= 64; i++) {
      const descriptor = { address: buffer, length: MEBIBYTE, flags: 1 | flags, next: i + 1 };
      await queue.describe(i, descriptor, table);
    }
    await queue.describe(65, { address: header + 16, length: 1, flags: 2 }, table);
    await queue.describe(0, { address: table, length: 16 * 66, flags: 4 });
    const before = peakMemory(true);
    await queue.offer(0);
    await queue.notify();
    await queue.completed();
    const grown = peakMemory() - before;
    assert(grown < 32 * MEBIBYTE, `${grown} bytes`);
    assertEquals(await driver.bus.readMemory(header + 16, 1), Uint8Array.of(Outcome.ok));
    const [first] = await driver.bus.readMemory(buffer, 1);
    assertEquals(first, type === Type.in ? 0 : 0x5a);
    using file = Deno.openSync(path);
    const content = new Uint8Array(4096);
    for (const offset of [0, MEBIBYTE, 64 * MEBIBYTE - 4096, 64 * MEBIBYTE]) {
      file.seekSync(offset, Deno.SeekMode.Start);
      file.readSync(content);
      const written = type === Type.out && offset < 64 * MEBIBYTE;
      assertEquals(content, new Uint8Array(4096).fill(written ? 0x5a : 0), `at ${offset}`);
    }
  });
}

Deno.test("a request that does not end holds up its device's stop, and nothing else", async () => {
  const node: BlockNode = {
    ...nodeDefaults,
    driver: "null-co",
    size: MEBIBYTE,
    readZeroes: true,
    latencyNs: 1_500_000_000,
  };
  await using bench = await new DiskBench({ node }).setUp();
  const { bench: { transport, loop, bus }, disk: { queue } } = bench;
  let ended = 0;
  const watchEnd = () => void bench.bench.requestsEnded.then(() => ended++);
  await queue.add([{ out: blkHeader(Type.in, 0) }, { in: 512 }, { in: 1 }]);
  await queue.notify();
  await new Promise((resolve) => setTimeout(resolve, 100));

  watchEnd();
  const began = performance.now();
  transport.runStateChanged(false);
  assert(performance.now() - began < 1000, "the stop has waited for the request");
  assertEquals(transport.requestsUnderWay, "disk 'd0' (null-co://)");
  // Others are served: a timer expires.
  const { promise, resolve } = Promise.withResolvers<void>();
  using timer = loop.timer(resolve, (fault) => {
    throw fault;
  });
  timer.arm(1n);
  await promise;
  assertEquals([ended, await queue.usedIndex()], [0, 0]);
  // Nothing is reset under it.
  assertThrows(() => transport.write(Register.status, 4, 0), DeviceBusyError);
  assertThrows(() => transport.reset(), DeviceBusyError);
  assert(transport.read(Register.status, 4) !== 0);

  // It goes on as if it had not been stopped; nobody is notified of the end of a stop.
  transport.runStateChanged(true);
  assertEquals(transport.requestsUnderWay, undefined);
  await queue.completed();
  assertEquals([ended, await queue.usedIndex()], [0, 1]);

  // A stop that sees the end, and a reset by the driver that waits for it.
  await queue.add([{ out: blkHeader(Type.in, 0) }, { in: 512 }, { in: 1 }]);
  await queue.notify();
  await new Promise((resolve) => setTimeout(resolve, 100));
  await bus.write(WORKBENCH_BASE + Register.status, 4, 0);
  assertEquals(ended, 1);
  assertEquals(transport.read(Register.status, 4), 0);
});
