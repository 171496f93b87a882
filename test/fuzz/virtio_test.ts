/**
 * Malformed queues and registers, for every device on both transports. Afterwards the device is broken as
 * the specification says (Virtual I/O Device 1.2, chapter 2.1.1, DEVICE_NEEDS_RESET), or has served what
 * it could; a reset makes it work; and this process, which is the monitor, lives.
 *
 * MOLT_FUZZ_CASES: cases for each device and transport; MOLT_SEED: a seed that a failed run has printed.
 */
import { assert, assertEquals } from "@std/assert";
import { Register } from "../../src/devices/virtio/mmio_registers.ts";
import { EventLoop } from "../../src/native/event_loop.ts";
import { patience } from "../support/patience.ts";
import { newSeed, Random } from "../support/random.ts";
import { allFeatures, type DriverQueue, turn, VirtioDriver } from "../support/virtio_driver.ts";
import { WORKBENCH_BASE } from "../unit/devices/virtio/workbench.ts";
import {
  type Ground,
  layRefusedTable,
  malformations,
  type Outcome,
  usesTables,
} from "./malformed_queues.ts";
import { MEMORY_SIZE, type Subject, subjects, type Target } from "./virtio_subjects.ts";

const given = Deno.env.get("MOLT_FUZZ_CASES");
/** More than 10,000 in all. Each of a card's takes several threads, and ten times as long as others. */
const casesOf = (name: string) => Number(given ?? (name === "virtio-net" ? 420 : 1160));
const INDIRECT = 1n << 28n;
const EVENT_INDEX = 1n << 29n;
const NEEDS_RESET = 64;
const CONFIGURATION_CHANGED = 2;
/** Where proofs and rings are; random requests may write anywhere else. */
const DRIVER_MEMORY = 0x10000;

/** One device on one transport. */
class Torture {
  readonly #subject: Subject;
  readonly #legacy: boolean;
  #random = new Random(0);

  constructor(subject: Subject, legacy: boolean) {
    this.#subject = subject;
    this.#legacy = legacy;
  }

  /** One case: something malformed, then a reset and the proof that the device works. */
  async run(seed: number): Promise<void> {
    this.#random = new Random(seed);
    const kind = this.#random.below(malformations.length + 4);
    const malformation = malformations[kind];
    let name = malformation?.name ?? "";
    try {
      if (malformation) {
        const indirect = usesTables(malformation) || this.#random.chance(2);
        await this.#queueCase(malformation.lay, { indirect });
      } else if (kind === malformations.length) {
        name = "a table of its own that may not have been negotiated";
        await this.#queueCase(layRefusedTable, { indirect: this.#random.chance(2) });
      } else if (kind === malformations.length + 1) {
        name = "rings where they cannot be";
        await this.#placeCase();
      } else if (kind === malformations.length + 2) {
        name = "random registers";
        await this.#registerCase();
      } else {
        name = "memory that changes while the device works";
        await this.#changingCase();
      }
      await this.#subject.prove(this.#driver());
      assertEquals(this.#status & NEEDS_RESET, 0);
    } catch (cause) {
      const where = `${this.#subject.name}, ${this.#legacy ? "legacy" : "modern"}`;
      throw new Error(`${where}: ${name}: MOLT_SEED=${seed}`, { cause });
    }
  }

  get #status(): number {
    return this.#subject.bench.transport.read(Register.status, 4);
  }

  #driver(): VirtioDriver {
    return new VirtioDriver(this.#subject.bench.bus, WORKBENCH_BASE, DRIVER_MEMORY);
  }

  /** Has a driver accept features, and sets a queue up. */
  async #setUp(
    target: Target,
    indirect: boolean,
  ): Promise<{ driver: VirtioDriver; queue: DriverQueue; ground: Ground }> {
    const random = this.#random;
    const driver = this.#driver();
    const without = (target.without ?? 0n) | (indirect ? 0n : INDIRECT) |
      (random.chance(2) ? EVENT_INDEX : 0n);
    await driver.begin(allFeatures(without));
    const queue = await driver.queue(target.index, random.pick([4, 8]));
    const { bench } = this.#subject;
    const ground: Ground = {
      random,
      rings: { ...queue.rings, size: queue.size },
      memorySize: MEMORY_SIZE,
      indirect,
      request: target.request(random),
      nonsense: target.nonsense?.(random),
      allocate: (length) => driver.allocate(length),
      write: (address, bytes) => bench.memory.guest.write(address, bytes),
    };
    return { driver, queue, ground };
  }

  async #queueCase(
    lay: (ground: Ground) => Outcome,
    { indirect }: { indirect: boolean },
  ): Promise<void> {
    const target = this.#random.pick(this.#subject.targets);
    const { driver, queue, ground } = await this.#setUp(target, indirect);
    const early = this.#random.chance(2);
    const reported = this.#subject.bench.messages.length;
    if (!early) await driver.ready();
    const outcome = lay(ground);
    if (early) await driver.ready();
    await queue.notify();
    await target.trigger?.(driver);
    await this.#expect(outcome, target, queue, reported);
  }

  /** Waits for what must come of it. */
  async #expect(
    outcome: Outcome,
    target: Target,
    queue: DriverQueue,
    reported: number,
  ): Promise<void> {
    const { messages, interrupt, transport } = this.#subject.bench;
    const broken = () => messages.length > reported;
    const signal = patience(20_000);
    if (outcome === "broken") {
      for (let look = 0; !broken(); look++) {
        signal.throwIfAborted();
        await turn(look);
      }
      if (!this.#legacy) {
        assertEquals(this.#status & NEEDS_RESET, NEEDS_RESET);
        assertEquals(interrupt.status & CONFIGURATION_CHANGED, CONFIGURATION_CHANGED);
      }
      assert(transport.save().broken);
      // It does nothing more.
      const used = await queue.usedIndex();
      await queue.notify();
      if (this.#random.chance(16)) await turn();
      assertEquals([await queue.usedIndex(), messages.length], [used, reported + 1]);
    } else if (outcome === "served" && target.returns) {
      for (let look = 0; await queue.usedIndex() === 0; look++) {
        assert(!broken(), messages.at(-1));
        signal.throwIfAborted();
        await turn(look);
      }
      assert(!broken(), messages.at(-1));
    } else if (this.#random.chance(2)) {
      await turn();
    }
  }

  /** Rings at the end of RAM, beyond it, or not aligned. */
  async #placeCase(): Promise<void> {
    const random = this.#random;
    const target = random.pick(this.#subject.targets);
    const driver = this.#driver();
    const { transport, messages } = this.#subject.bench;
    const reported = messages.length;
    await driver.begin(allFeatures(target.without ?? 0n));
    const size = random.pick([4, 8]);
    const set = (register: number, value: number) => transport.write(register, 4, value >>> 0);
    set(Register.queueSel, target.index);
    set(Register.queueNum, size);
    const end = MEMORY_SIZE;
    let fits = random.chance(2);
    if (this.#legacy) {
      // Available index and used ring follow the table at the next page.
      set(Register.queueAlign, 4096);
      set(Register.queuePfn, end / 4096 - (fits ? 2 : random.pick([1, 0, -5])));
    } else {
      const lengths = [16 * size, 6 + 2 * size, 6 + 8 * size];
      const alignments = [16, 2, 4];
      const last = lengths.map((length, i) => {
        const alignment = alignments[i] ?? 1;
        return Math.floor((end - length) / alignment) * alignment;
      });
      const places = [end - 4096, end - 3072, end - 2048];
      const which = random.below(3);
      const wrong = random.pick([
        () => (last[which] ?? 0) + (alignments[which] ?? 1),
        () => (last[which] ?? 0) - 1,
        () => end + random.below(1 << 20),
        () => 0xfffffff0,
      ]);
      places[which] = fits ? last[which] ?? 0 : wrong();
      const high = !fits && random.chance(4) ? random.between(1, 0xffffffff) : 0;
      [Register.queueDescLow, Register.queueDriverLow, Register.queueDeviceLow].forEach(
        (low, i) => {
          set(low, places[i] ?? 0);
          set(low + 4, i === which ? high : 0);
        },
      );
      this.#subject.bench.memory.guest.write(end - 8192, new Uint8Array(8192));
      set(Register.queueReady, 1);
      if (target.helper !== undefined) fits = false;
    }
    if (this.#legacy) this.#subject.bench.memory.guest.write(end - 8192, new Uint8Array(8192));
    await driver.ready();
    const expected = fits || (target.helper !== undefined && messages.length === reported);
    assertEquals(messages.slice(reported).length, expected ? 0 : 1, messages.at(-1));
  }

  /** Registers and configuration space, as they come. */
  async #registerCase(): Promise<void> {
    const random = this.#random;
    const { transport } = this.#subject.bench;
    for (let i = 0; i < 40; i++) {
      const size = random.pick([1, 2, 4, 4, 4, 4] as const);
      const offset = random.chance(2)
        ? random.pick(Object.values(Register))
        : random.below(0x200 - size);
      const value = random.pick([
        () => random.word(),
        () => random.below(32),
        () => random.below(MEMORY_SIZE),
        () => 15,
      ])();
      if (random.chance(3)) {
        const read = transport.read(offset, size);
        assert(read >= 0 && read < 2 ** (8 * size) && Number.isInteger(read));
      } else {
        transport.write(offset, size, size === 4 ? value : value % 2 ** (8 * size));
      }
    }
    if (random.chance(4)) await turn();
  }

  /** The driver, or another of its processors, writes where the device reads; the machine stops and goes on. */
  async #changingCase(): Promise<void> {
    const random = this.#random;
    const target = random.pick(this.#subject.targets);
    const { driver, queue, ground } = await this.#setUp(target, true);
    const lay = random.pick(malformations.filter(({ name }) =>
      name.includes("random") ||
      name.includes("again")
    ));
    const { memory, transport } = this.#subject.bench;
    await driver.ready();
    lay.lay(ground);
    await queue.notify();
    await target.trigger?.(driver);
    const { table, used } = queue.rings;
    for (let i = random.below(30); i > 0; i--) {
      memory.guest.write(random.between(table, used + 70), random.bytes(random.between(1, 8)));
      if (random.chance(4)) await queue.notify();
      if (random.chance(16)) {
        transport.runStateChanged(false);
        transport.runStateChanged(true);
      }
      if (random.chance(8)) await turn();
    }
  }
}

const base = newSeed();
for (const [name, create] of Object.entries(subjects)) {
  const cases = casesOf(name);
  for (const legacy of [false, true]) {
    const kind = `${name}, ${legacy ? "legacy" : "modern"}`;
    Deno.test(`${kind}: ${cases} malformed queues, seeds from ${base}`, async () => {
      console.log(`${kind}: seeds ${base} to ${base + cases - 1}`);
      const loop = new EventLoop();
      const running = loop.run();
      try {
        await using subject = await create({ legacy, loop });
        const torture = new Torture(subject, legacy);
        for (let i = 0; i < cases; i++) await torture.run(base + i);
      } finally {
        loop.stop();
        await running;
        loop[Symbol.dispose]();
      }
    });
  }
}
