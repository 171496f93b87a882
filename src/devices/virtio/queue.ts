/**
 * One queue as its transport sees it: what the driver wrote of it, and whether it is at work.
 *
 *   configured -> start: rings found, notifications arrive -> stop: last_avail_idx noted -> start ...
 *        ^                                                        |
 *        +------------------------------ reset -------------------+
 */
import type { Descriptor, Fd } from "../../native/descriptor.ts";
import type { DeviceInterrupt } from "../../native/device_interrupt.ts";
import type { DeviceMemory } from "../../native/device_memory.ts";
import { createEvent } from "../../native/event_descriptor.ts";
import { write } from "../../native/file.ts";
import { NativeQueue, type QueueElement, type QueueSetup } from "../../native/virtqueue.ts";
import { Feature } from "./features.ts";
import type { VirtioQueueState } from "./virtio_state.ts";

/** Alignment of a legacy queue's used ring until the driver says otherwise. */
const DEFAULT_ALIGNMENT = 4096;

/** Requests that a queue in TypeScript serves before others get their turn. */
const TURN = 256;
/** What an eventfd is signalled with. */
const oneSignal = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

/** Registers of a modern queue as the driver wrote them: addresses in low and high words. */
export interface ModernRegisters {
  num: number;
  enabled: boolean;
  desc: [low: number, high: number];
  avail: [low: number, high: number];
  used: [low: number, high: number];
}

/** A queue. */
export class Virtqueue implements Disposable {
  readonly index: number;
  /** Entries that the device offers at most, and has until the driver says otherwise; 0: no queue. */
  maximum: number;
  readonly native: NativeQueue;
  /** The driver's notifications arrive here. */
  readonly kick: Descriptor;
  size: number;
  alignment = DEFAULT_ALIGNMENT;
  /** Guest-physical addresses; no descriptors: the queue is not set up. */
  descriptors = 0n;
  available = 0n;
  used = 0n;
  readonly modern: ModernRegisters = noRegisters();
  #lastAvailable = 0;
  #live = false;

  constructor(index: number, maximum: number, memory: DeviceMemory, interrupt: DeviceInterrupt) {
    this.index = index;
    this.maximum = maximum;
    this.size = maximum;
    this.native = new NativeQueue(memory, interrupt, index);
    this.kick = createEvent();
  }

  get kickFd(): Fd {
    return this.kick.fd;
  }

  /** The driver said where the rings are. */
  get configured(): boolean {
    return this.descriptors !== 0n;
  }

  /** The rings are found and requests may be taken. */
  get live(): boolean {
    return this.#live;
  }

  /** The next available index that the device will look at. */
  get lastAvailable(): number {
    return this.#live ? this.native.lastAvailable : this.#lastAvailable;
  }

  /** Places a legacy queue whose descriptor table is at `address`: the rings follow it. */
  placeLegacy(address: bigint): void {
    this.descriptors = address;
    const size = BigInt(this.size);
    const alignment = BigInt(this.alignment);
    this.available = address === 0n ? 0n : address + 16n * size;
    const end = this.available + 2n * (3n + size);
    this.used = address === 0n || alignment === 0n
      ? 0n
      : (end + alignment - 1n) / alignment * alignment;
  }

  /** Places a modern queue where its registers say. */
  placeModern(): void {
    const address = ([low, high]: [number, number]) => BigInt(high) << 32n | BigInt(low);
    this.setSize(this.modern.num);
    this.descriptors = address(this.modern.desc);
    this.available = address(this.modern.avail);
    this.used = address(this.modern.used);
  }

  /** Takes over the driver's number of entries, if that is possible for a queue. */
  setSize(size: number): void {
    if (size > 0 && size <= this.maximum) this.size = size;
  }

  /** Finds the rings. Throws a VirtqueueError if they cannot be there. */
  start(features: bigint): void {
    if (this.#live) return;
    this.native.start(this.#setup(features));
    this.#live = true;
  }

  /** Leaves the rings. Nobody may be at work with them any more. */
  stop(): void {
    if (!this.#live) return;
    this.#lastAvailable = this.native.lastAvailable;
    this.#live = false;
    this.native.stop();
  }

  /** Signals as the driver's notification would. */
  signal(): void {
    write(this.kickFd, oneSignal);
  }

  /** The next request of a live queue. Throws a VirtqueueError if the queue is broken. */
  pop(): QueueElement | undefined {
    return this.#live ? this.native.pop() : undefined;
  }

  /**
   * Hands requests to `serve` until there are no more or it returns false. If the driver adds them
   * faster than that, the rest waits for the loop's next turn. Throws a VirtqueueError if the queue is
   * broken.
   */
  serve(serve: (request: QueueElement) => boolean): void {
    for (let served = 0; this.#live;) {
      const request = this.native.pop();
      if (request === undefined) {
        if (!this.native.enableNotifications()) return;
      } else if (!serve(request)) {
        return;
      } else if (++served === TURN) {
        this.signal();
        return;
      }
    }
  }

  /** Returns a request of a live queue. */
  push(element: QueueElement, written: number): void {
    this.native.push(element, written);
  }

  /** As after power-on. */
  reset(): void {
    this.stop();
    this.size = this.maximum;
    this.alignment = DEFAULT_ALIGNMENT;
    this.descriptors = this.available = this.used = 0n;
    this.#lastAvailable = 0;
    Object.assign(this.modern, noRegisters());
  }

  save(): Required<VirtioQueueState> {
    return {
      num: this.size,
      align: this.alignment,
      desc: this.descriptors,
      lastAvailIdx: this.lastAvailable,
    };
  }

  /** Takes over a state; the queue is not live. `rings`: a modern queue's, else they follow. */
  load(state: VirtioQueueState, rings: { avail: bigint; used: bigint } | undefined): void {
    this.size = state.num;
    this.alignment = state.align ?? DEFAULT_ALIGNMENT;
    this.#lastAvailable = state.lastAvailIdx;
    this.placeLegacy(state.desc);
    if (rings) {
      this.available = rings.avail;
      this.used = rings.used;
    }
  }

  /** Throws a VirtqueueError if the rings in memory do not fit what was loaded. */
  verify(features: bigint): void {
    if (this.configured) this.native.start(this.#setup(features));
  }

  #setup(features: bigint): QueueSetup {
    return {
      descriptors: this.descriptors,
      available: this.available,
      used: this.used,
      size: this.size,
      eventIndex: (features & Feature.eventIndex) !== 0n,
      indirect: (features & Feature.indirectDescriptors) !== 0n,
      notifyOnEmpty: (features & Feature.notifyOnEmpty) !== 0n,
      lastAvailable: this.#lastAvailable,
    };
  }

  [Symbol.dispose](): void {
    this.native[Symbol.dispose]();
    this.kick[Symbol.dispose]();
  }
}

function noRegisters(): ModernRegisters {
  return { num: 0, enabled: false, desc: [0, 0], avail: [0, 0], used: [0, 0] };
}
