/** virtio-rng and virtio-balloon. */
import { assert, assertEquals } from "@std/assert";
import type { RngBackend } from "../../../../src/backends/rng.ts";
import { VirtioBalloon } from "../../../../src/devices/virtio/balloon.ts";
import { Register } from "../../../../src/devices/virtio/mmio_registers.ts";
import { VirtioRng } from "../../../../src/devices/virtio/rng.ts";
import { allFeatures } from "../../../support/virtio_driver.ts";
import { ManualClock } from "../dependencies.ts";
import { commonDefaults } from "./properties.ts";
import { Workbench, type WorkbenchMemory } from "./workbench.ts";

const MS = 1_000_000n;
const PAGE = 4096;
const MEMORY = 4 << 20;

/** Counts from 1; has as many bytes as it was given. */
class CountingRng implements RngBackend {
  available = Infinity;
  #next = 1;
  #arrived: (() => void) | undefined;

  read(length: number, arrived: () => void): Uint8Array<ArrayBuffer> | undefined {
    if (this.available === 0) {
      this.#arrived = arrived;
      return undefined;
    }
    const count = Math.min(length, this.available);
    this.available -= count;
    return Uint8Array.from({ length: count }, () => this.#next++);
  }

  give(count: number): void {
    this.available += count;
    const arrived = this.#arrived;
    this.#arrived = undefined;
    arrived?.();
  }

  [Symbol.dispose](): void {}
}

function rngBench(
  backend: RngBackend,
  clock = new ManualClock(),
  limit = { maxBytes: Number.MAX_SAFE_INTEGER, period: 65536 },
  memory?: WorkbenchMemory,
) {
  return new Workbench(
    () => new VirtioRng(backend, { ...commonDefaults, ...limit }, clock),
    memory ? { memory, start: false } : {},
  );
}

Deno.test("rng: buffers are filled, in pieces if there is less", async () => {
  const backend = new CountingRng();
  await using bench = rngBench(backend);
  const { driver } = bench;
  await driver.begin(allFeatures());
  const queue = await driver.queue(0, 8);
  await driver.ready();
  const { in: [a, b], written } = await queue.request([{ in: 3 }, { in: 2 }]);
  assertEquals([[...a!], [...b!], written], [[1, 2, 3], [4, 5], 5]);
  backend.available = 2;
  assertEquals((await queue.request([{ in: 16 }])).written, 2);
});

Deno.test("rng: a request waits for bytes, also through a move", async () => {
  const backend = new CountingRng();
  backend.available = 0;
  await using bench = rngBench(backend);
  const { driver } = bench;
  await driver.begin(allFeatures());
  const queue = await driver.queue(0, 8);
  await driver.ready();
  await queue.add([{ in: 4 }]);
  await queue.notify();
  assertEquals(await queue.usedIndex(), 0);
  backend.give(1);
  assertEquals((await queue.completed()).written, 1);

  await queue.add([{ in: 4 }]);
  await queue.notify();
  const saved = bench.save();
  const other = new CountingRng();
  await using target = rngBench(other, undefined, undefined, bench.memory);
  target.load(saved);
  assertEquals(target.save(), saved);
  target.transport.runStateChanged(true);
  assertEquals((await queue.completed()).written, 4);
});

Deno.test("rng: no more than max-bytes in a period", async () => {
  const clock = new ManualClock();
  await using bench = rngBench(new CountingRng(), clock, { maxBytes: 10, period: 100 });
  const { driver } = bench;
  await driver.begin(allFeatures());
  const queue = await driver.queue(0, 8);
  await driver.ready();
  assertEquals((await queue.request([{ in: 6 }])).written, 6);
  assertEquals((await queue.request([{ in: 6 }])).written, 4);
  await queue.add([{ in: 6 }]);
  await queue.notify();
  clock.step(99n * MS);
  assertEquals(await queue.usedIndex(), 2);
  clock.step(1n * MS);
  assertEquals((await queue.completed()).written, 6);
});

class BalloonBench implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly changes: number[] = [];
  readonly bench;
  device!: VirtioBalloon;

  constructor(memory?: WorkbenchMemory, pollingInterval = 0) {
    this.bench = new Workbench(() => {
      this.device = new VirtioBalloon(
        { ...commonDefaults, deflateOnOom: false, pagePoison: false, pollingInterval },
        MEMORY,
        this.clock,
        {
          changed: (actual) => this.changes.push(actual),
          notDiscarded: (error) => {
            throw error;
          },
        },
      );
      return this.device;
    }, { memorySize: MEMORY, ...(memory ? { memory, start: false } : {}) });
  }

  async begin() {
    const { driver } = this.bench;
    await driver.begin(allFeatures());
    const queues = {
      inflate: await driver.queue(0, 16),
      deflate: await driver.queue(1, 16),
      statistics: await driver.queue(2, 16),
    };
    await driver.ready();
    return queues;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bench[Symbol.asyncDispose]();
  }
}

function numbers(...pages: number[]): { out: Uint8Array } {
  return { out: new Uint8Array(Uint32Array.from(pages).buffer) };
}

Deno.test("balloon: the guest is asked, gives pages, and says so; they are the host's", async () => {
  await using balloon = new BalloonBench();
  const { bench, device } = balloon;
  const { inflate, deflate } = await balloon.begin();
  const fill = () => bench.memory.guest.write(300 * PAGE, new Uint8Array(20 * PAGE).fill(7));
  fill();
  device.setTarget(MEMORY - 8 * PAGE);
  assertEquals(bench.transport.read(Register.config, 4), 8);
  assertEquals(bench.interrupt.status & 2, 2);
  // In any order, also twice, also nonsense.
  await inflate.request([numbers(305, 302, 303), numbers(303, 310, 0xffffffff)]);
  const zero = (page: number) =>
    bench.memory.guest.read(page * PAGE, PAGE).every((byte) => byte === 0);
  const given = Array.from({ length: 20 }, (_, i) => 300 + i).filter(zero);
  assertEquals(given, [302, 303, 305, 310]);
  bench.transport.write(Register.config + 4, 4, 4);
  assertEquals(balloon.changes, [MEMORY - 4 * PAGE]);
  assertEquals(device.actual, MEMORY - 4 * PAGE);

  device.setTarget(MEMORY * 2);
  assertEquals(bench.transport.read(Register.config, 4), 0);
  await deflate.request([numbers(302, 303)]);
  bench.transport.write(Register.config + 4, 4, 2);
  assertEquals(balloon.changes.at(-1), MEMORY - 2 * PAGE);

  const saved = bench.save();
  await using target = new BalloonBench(bench.memory);
  target.bench.load(saved);
  assertEquals(target.bench.save(), saved);
  assertEquals(target.device.actual, MEMORY - 2 * PAGE);
});

Deno.test("balloon: statistics are asked for every interval, also after a move", async () => {
  await using balloon = new BalloonBench(undefined, 2);
  const { statistics } = await balloon.begin();
  const sample = (free: bigint) => {
    const bytes = new Uint8Array(20);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, 4, true);
    view.setBigUint64(2, free, true);
    view.setUint16(10, 5, true);
    view.setBigUint64(12, 1n << 40n, true);
    return { out: bytes };
  };
  const free = ({ device }: BalloonBench) => device.statistics.stats["stat-free-memory"];
  await statistics.add([sample(1000n)]);
  await statistics.notify();
  assertEquals(free(balloon), 1000n);
  assertEquals(balloon.device.statistics.stats["stat-total-memory"], 1n << 40n);
  assertEquals(balloon.device.statistics.stats["stat-swap-in"], (1n << 64n) - 1n);
  assertEquals(await statistics.usedIndex(), 0);
  balloon.clock.step(2_000n * MS);
  await statistics.completed();
  await statistics.add([sample(900n)]);
  await statistics.notify();
  assertEquals(free(balloon), 900n);

  // The buffer is with the device when it moves.
  const saved = balloon.bench.save();
  await using target = new BalloonBench(balloon.bench.memory, 2);
  target.bench.load(saved);
  assertEquals(target.bench.save(), saved);
  target.bench.transport.runStateChanged(true);
  target.clock.step(2_000n * MS);
  await statistics.completed();
  assert(free(target) === 900n);
});
