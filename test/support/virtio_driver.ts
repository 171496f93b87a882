/** A virtio driver for tests: it sets devices up and talks to them as a guest would, over any bus. */
import { setImmediate } from "node:timers";
import { Register } from "../../src/devices/virtio/mmio_registers.ts";
import { patience } from "./patience.ts";

/** Where a device is driven: in this process, or in a machine in another one. */
export interface DriverBus {
  read(address: number, size: 1 | 2 | 4): Promise<number>;
  write(address: number, size: 1 | 2 | 4, value: number): Promise<void>;
  readMemory(address: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  writeMemory(address: number, bytes: Uint8Array): Promise<void>;
}

/** Flags of descriptors. */
export const DescriptorFlag = { next: 1, write: 2, indirect: 4 } as const;

/** A buffer of a request: bytes for the device, or room for what it writes. */
export type DriverBuffer = { readonly out: Uint8Array } | { readonly in: number };

/** What came of a request. */
export interface Completion {
  /** Bytes that the device says it wrote. */
  readonly written: number;
  /** The content of each buffer that it could write, in order. */
  readonly in: readonly Uint8Array<ArrayBuffer>[];
}

const VERSION_1 = 1n << 32n;
const EVENT_INDEX = 1n << 29n;
const PAGE = 4096;

/** The driver of one device. It uses guest memory from `memory` on. */
export class VirtioDriver {
  readonly bus: DriverBus;
  readonly base: number;
  features = 0n;
  #memory: number;

  constructor(bus: DriverBus, base: number, memory: number) {
    this.bus = bus;
    this.base = base;
    this.#memory = memory;
  }

  get(register: number): Promise<number> {
    return this.bus.read(this.base + register, 4);
  }

  set(register: number, value: number): Promise<void> {
    return this.bus.write(this.base + register, 4, value >>> 0);
  }

  /** Guest memory that nobody else uses. */
  allocate(length: number, alignment = 16): number {
    const address = Math.ceil(this.#memory / alignment) * alignment;
    this.#memory = address + length;
    return address;
  }

  /** All features that the device offers. */
  async offered(): Promise<bigint> {
    await this.set(Register.deviceFeaturesSel, 0);
    const low = await this.get(Register.deviceFeatures);
    await this.set(Register.deviceFeaturesSel, 1);
    const high = await this.get(Register.deviceFeatures);
    return BigInt(high) << 32n | BigInt(low);
  }

  /** Resets the device and accepts those of its features that are in `wanted`. */
  async begin(wanted: bigint): Promise<void> {
    await this.set(Register.status, 0);
    await this.set(Register.status, 1);
    await this.set(Register.status, 3);
    this.features = wanted & await this.offered();
    await this.set(Register.driverFeaturesSel, 0);
    await this.set(Register.driverFeatures, Number(BigInt.asUintN(32, this.features)));
    await this.set(Register.driverFeaturesSel, 1);
    await this.set(Register.driverFeatures, Number(this.features >> 32n));
    if (await this.get(Register.version) === 1) await this.set(Register.guestPageSize, PAGE);
    else await this.set(Register.status, 11);
  }

  /** The device may work. */
  async ready(): Promise<void> {
    await this.set(Register.status, await this.get(Register.version) === 1 ? 7 : 15);
  }

  /** Sets a queue up. */
  async queue(index: number, size: number): Promise<DriverQueue> {
    const legacy = await this.get(Register.version) === 1;
    const table = this.allocate(3 * PAGE + 32 * size, PAGE);
    const available = table + 16 * size;
    const used = Math.ceil((available + 6 + 2 * size) / PAGE) * PAGE;
    await this.bus.writeMemory(table, new Uint8Array(used + 6 + 8 * size - table));
    await this.set(Register.queueSel, index);
    await this.set(Register.queueNum, size);
    if (legacy) {
      await this.set(Register.queueAlign, PAGE);
      await this.set(Register.queuePfn, table / PAGE);
    } else {
      await this.set(Register.queueDescLow, table);
      await this.set(Register.queueDriverLow, available);
      await this.set(Register.queueDeviceLow, used);
      await this.set(Register.queueReady, 1);
    }
    return new DriverQueue(this, index, size, { table, available, used });
  }
}

/** One queue of a driver. */
export class DriverQueue {
  readonly driver: VirtioDriver;
  readonly index: number;
  readonly size: number;
  readonly rings: { readonly table: number; readonly available: number; readonly used: number };
  /** Requests that were added, and those that were seen to be done. */
  added = 0;
  seen = 0;
  #nextDescriptor = 0;
  #notified = 0;
  readonly #pending = new Map<number, readonly { address: number; length: number }[]>();

  constructor(
    driver: VirtioDriver,
    index: number,
    size: number,
    rings: { table: number; available: number; used: number },
  ) {
    this.driver = driver;
    this.index = index;
    this.size = size;
    this.rings = rings;
  }

  /** Writes one descriptor of the queue's table, or of the one at `table`. */
  async describe(
    slot: number,
    descriptor: { address: number | bigint; length: number; flags: number; next?: number },
    table = this.rings.table,
  ): Promise<void> {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt(descriptor.address), true);
    view.setUint32(8, descriptor.length, true);
    view.setUint16(12, descriptor.flags, true);
    view.setUint16(14, descriptor.next ?? 0, true);
    await this.driver.bus.writeMemory(table + 16 * slot, bytes);
  }

  /** Puts the chain that starts at `head` into the available ring. */
  async offer(head: number): Promise<void> {
    const place = this.rings.available + 4 + 2 * (this.added % this.size);
    await this.driver.bus.writeMemory(place, u16(head));
    this.added++;
    await this.driver.bus.writeMemory(this.rings.available + 2, u16(this.added));
  }

  /** Adds a request, with its descriptors in a table of its own if `indirect`. */
  async add(buffers: readonly DriverBuffer[], indirect = false): Promise<number> {
    const { driver } = this;
    const written: { address: number; length: number }[] = [];
    const count = indirect ? 1 : buffers.length;
    const head = this.#nextDescriptor;
    this.#nextDescriptor = (head + count) % this.size;
    const table = indirect ? driver.allocate(16 * buffers.length) : this.rings.table;
    for (const [i, buffer] of buffers.entries()) {
      const length = "out" in buffer ? buffer.out.length : buffer.in;
      const address = driver.allocate(length);
      if ("out" in buffer) await driver.bus.writeMemory(address, buffer.out);
      else written.push({ address, length });
      const last = i === buffers.length - 1;
      const slot = indirect ? i : (head + i) % this.size;
      await this.describe(slot, {
        address,
        length,
        flags: (last ? 0 : DescriptorFlag.next) | ("in" in buffer ? DescriptorFlag.write : 0),
        next: indirect ? i + 1 : (head + i + 1) % this.size,
      }, table);
    }
    if (indirect) {
      const length = 16 * buffers.length;
      await this.describe(head, { address: table, length, flags: DescriptorFlag.indirect });
    }
    this.#pending.set(head, written);
    await this.offer(head);
    return head;
  }

  async notify(): Promise<void> {
    await this.driver.set(Register.queueNotify, this.index);
  }

  /** Notifies the device, if it wants to know of what was added since it was looked at last. */
  async notifyIfWanted(): Promise<boolean> {
    const added = this.added & 0xffff;
    const before = this.#notified;
    this.#notified = added;
    const { bus, features } = this.driver;
    const events = (features & EVENT_INDEX) !== 0n;
    const place = events ? this.rings.used + 4 + 8 * this.size : this.rings.used;
    const bytes = await bus.readMemory(place, 2);
    const word = bytes[0]! | bytes[1]! << 8;
    const wanted = events
      ? ((added - word - 1) & 0xffff) < ((added - before) & 0xffff)
      : (word & 1) === 0;
    if (wanted) await this.notify();
    return wanted;
  }

  /** How many requests the device has returned so far. */
  async usedIndex(): Promise<number> {
    const bytes = await this.driver.bus.readMemory(this.rings.used + 2, 2);
    return bytes[0]! | bytes[1]! << 8;
  }

  /** The next request that the device returns. */
  async completed(signal: AbortSignal = patience(10_000)): Promise<Completion & { head: number }> {
    for (let look = 0; await this.usedIndex() === (this.seen & 0xffff); look++) {
      signal.throwIfAborted();
      await turn(look);
    }
    const entry = this.rings.used + 4 + 8 * (this.seen % this.size);
    const view = new DataView((await this.driver.bus.readMemory(entry, 8)).buffer);
    this.seen++;
    const head = view.getUint32(0, true);
    const buffers: Uint8Array<ArrayBuffer>[] = [];
    for (const { address, length } of this.#pending.get(head) ?? []) {
      buffers.push(await this.driver.bus.readMemory(address, length));
    }
    this.#pending.delete(head);
    // Interrupts for the next one, if the driver said that it says so.
    if ((this.driver.features & EVENT_INDEX) !== 0n) {
      const event = this.rings.available + 4 + 2 * this.size;
      await this.driver.bus.writeMemory(event, u16(this.seen));
    }
    return { head, written: view.getUint32(4, true), in: buffers };
  }

  /** Adds a request, notifies, and waits until it is done. */
  async request(buffers: readonly DriverBuffer[], indirect = false): Promise<Completion> {
    await this.add(buffers, indirect);
    await this.notify();
    return await this.completed();
  }
}

/**
 * Lets others run before the next look at something that a thread is to do. From the twentieth look on it
 * waits a while, so as not to keep a busy machine from doing it.
 */
export function turn(look = 0): Promise<void> {
  return new Promise((resolve) => {
    if (look < 20) setImmediate(resolve);
    else setTimeout(resolve, 1);
  });
}

/** Sixteen bits in the order of guest memory. */
export function u16(value: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(value, value >>> 8);
}

/** Requests of virtio-blk. */
export class BlkDriver {
  readonly queue: DriverQueue;

  constructor(queue: DriverQueue) {
    this.queue = queue;
  }

  /** Type, sector and data to the device; returns the status byte and what the device wrote. */
  async request(
    type: number,
    sector: number,
    data: DriverBuffer[] = [],
    indirect = false,
  ): Promise<{ status: number; written: number; in: readonly Uint8Array<ArrayBuffer>[] }> {
    const done = await this.queue.request(
      [{ out: blkHeader(type, sector) }, ...data, { in: 1 }],
      indirect,
    );
    return {
      status: done.in.at(-1)?.[0] ?? 0xff,
      written: done.written,
      in: done.in.slice(0, -1),
    };
  }
}

/** The header of a virtio-blk request. */
export function blkHeader(type: number, sector: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return header;
}

/** All features but those named. */
export function allFeatures(except = 0n): bigint {
  return ((1n << 64n) - 1n) & ~except;
}

export { EVENT_INDEX, VERSION_1 };
