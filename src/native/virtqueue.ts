/** The device's side of a split virtqueue (ffi/virtio_queue.c). */
import type { Fd } from "./descriptor.ts";
import { layouts, limits } from "./layouts.ts";
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import { NativeHandle } from "./handle.ts";
import type { DeviceInterrupt } from "./device_interrupt.ts";
import type { DeviceMemory } from "./device_memory.ts";

/** Entries of the largest queue, and buffers of the longest request. */
export const QUEUE_MAXIMUM = limits.MOLT_QUEUE_MAXIMUM;
const { molt_queue_setup: setupLayout, molt_element: elementLayout } = layouts;
const { molt_buffer: bufferLayout } = layouts;
export const ELEMENT_SIZE = elementLayout.sizeof;

/** What can be wrong with a queue: enum molt_queue_fault, in words. */
const faults: Readonly<Record<number, string>> = {
  1: "a ring is not in RAM",
  2: "the available index moved too far",
  3: "more requests than the queue has entries",
  4: "a chain starts outside the descriptor table",
  5: "a descriptor's next one is outside the table",
  6: "looped descriptors",
  7: "a request has too many buffers",
  8: "a buffer to be read follows one to be written",
  9: "a buffer is empty",
  10: "a buffer is not in RAM",
  11: "an indirect table's size is no multiple of a descriptor's",
  12: "an indirect table is not in RAM",
  13: "an indirect table within an indirect table",
  14: "an indirect table although none were negotiated",
  15: "a request that the device does not understand",
  16: "the used index does not fit the number of requests taken",
};

const REQUEST_FAULT = limits.MOLT_QUEUE_REQUEST;

/** The guest put something into a queue that no device can work with. */
export class VirtqueueError extends Error {
  override readonly name = "VirtqueueError";
  constructor(fault: number) {
    super(faults[fault] ?? `queue fault ${fault}`);
  }
}

/** Where the driver put a queue; addresses are guest-physical. */
export interface QueueSetup {
  readonly descriptors: bigint;
  readonly available: bigint;
  readonly used: bigint;
  /** Entries. */
  readonly size: number;
  readonly eventIndex: boolean;
  readonly indirect: boolean;
  readonly notifyOnEmpty: boolean;
  /** The next available index to look at. */
  readonly lastAvailable: number;
}

/** A buffer of a request. */
export interface GuestBuffer {
  /** Guest-physical; the buffer is RAM in one piece. */
  readonly address: number;
  /** Bytes, at least 1. */
  readonly length: number;
}

/** A request popped from a queue. */
export interface QueueElement {
  /** Its first descriptor, by which it is returned. */
  readonly head: number;
  /** Buffers that the device reads. */
  readonly out: readonly GuestBuffer[];
  /** Buffers that the device writes. */
  readonly in: readonly GuestBuffer[];
}

/** struct molt_element. */
const element = new Uint8Array(ELEMENT_SIZE);
const elementView = new DataView(element.buffer);

/** Decodes a struct molt_element: what TypeScript gets to see of a request. */
export function decodeElement(view: DataView): QueueElement {
  const outCount = view.getUint32(elementLayout.out_count, true);
  const inCount = view.getUint32(elementLayout.in_count, true);
  const buffers = (first: number, count: number): GuestBuffer[] =>
    Array.from({ length: count }, (_, i) => {
      const at = elementLayout.buffers + bufferLayout.sizeof * (first + i);
      return {
        address: Number(view.getBigUint64(at + bufferLayout.address, true)),
        length: Number(view.getBigUint64(at + bufferLayout.length, true)),
      };
    });
  return {
    head: view.getUint32(elementLayout.head, true),
    out: buffers(0, outCount),
    in: buffers(outCount, inCount),
  };
}

/**
 * One queue, used by TypeScript or, between start and stop of its engine, by threads of the C library,
 * never by both.
 */
export class NativeQueue implements Disposable {
  readonly #handle: NativeHandle;

  /** `index`: its number in the device, which says what interrupts the guest. */
  constructor(memory: DeviceMemory, interrupt: DeviceInterrupt, index: number) {
    this.#handle = new NativeHandle(
      "a queue",
      unwrap(
        native.molt_queue_create(memory.handle, interrupt.handle, index),
        "Could not create a queue",
      ),
      native.molt_queue_destroy,
    );
  }

  get handle(): bigint {
    return this.#handle.value;
  }

  /** Finds the rings. Throws a {@linkcode VirtqueueError} if they cannot be what the setup says. */
  start(setup: QueueSetup): void {
    const bytes = new Uint8Array(setupLayout.sizeof);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(setupLayout.descriptors, setup.descriptors, true);
    view.setBigUint64(setupLayout.available, setup.available, true);
    view.setBigUint64(setupLayout.used, setup.used, true);
    view.setUint32(setupLayout.size, setup.size, true);
    view.setUint32(
      setupLayout.features,
      (setup.eventIndex ? 1 : 0) | (setup.indirect ? 2 : 0) | (setup.notifyOnEmpty ? 4 : 0),
      true,
    );
    view.setUint32(setupLayout.last_available, setup.lastAvailable, true);
    this.#check(native.molt_queue_start(this.handle, bytes));
  }

  /** Leaves the rings so that another device can go on with them. */
  stop(): void {
    native.molt_queue_stop(this.handle);
  }

  /** Takes the next request. Throws a {@linkcode VirtqueueError} if the queue is broken. */
  pop(): QueueElement | undefined {
    const outcome = this.#check(native.molt_queue_pop(this.handle, element));
    return outcome === 0 ? undefined : decodeElement(elementView);
  }

  /** Leaves the request popped last in the queue after all. */
  unpop(): void {
    native.molt_queue_unpop(this.handle, 1);
  }

  /** Leaves all requests in the queue that were popped and not pushed, also by a device before this. */
  rewind(): void {
    native.molt_queue_rewind(this.handle);
  }

  /** Returns a request as used, `written` bytes of it, and notifies the driver if it wants to know. */
  push(element: QueueElement, written: number): void {
    native.molt_queue_push(this.handle, element.head, written);
    native.molt_queue_notify(this.handle);
  }

  /** Asks the driver to notify of new requests. True if there are some already. */
  enableNotifications(): boolean {
    return native.molt_queue_enable_notifications(this.handle) !== 0;
  }

  /** The next available index that the device will look at. */
  get lastAvailable(): number {
    return native.molt_queue_last_available(this.handle);
  }

  /** Why the queue is broken; `undefined` if it is not. */
  get fault(): VirtqueueError | undefined {
    const fault = native.molt_queue_fault(this.handle);
    return fault === 0 ? undefined : new VirtqueueError(fault);
  }

  /** Declares the queue broken by a request that makes no sense to the device. */
  fail(): VirtqueueError {
    native.molt_queue_fail(this.handle, REQUEST_FAULT);
    return new VirtqueueError(REQUEST_FAULT);
  }

  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }

  #check(outcome: number): number {
    if (outcome < 0) throw new VirtqueueError(-outcome);
    return outcome;
  }
}

/** A queue for threads of the C library, which the driver's notifications reach by `kick`. */
export interface ServedQueue {
  readonly queue: NativeQueue;
  readonly kick: Fd;
}

/** Handles and descriptors of queues, in arrays as the C library takes them. */
export function encodeQueues(
  queues: readonly ServedQueue[],
): { rings: Uint8Array<ArrayBuffer>; kicks: Uint8Array<ArrayBuffer> } {
  const rings = BigUint64Array.from(queues, ({ queue }) => queue.handle);
  const kicks = Int32Array.from(queues, ({ kick }) => kick);
  return { rings: new Uint8Array(rings.buffer), kicks: new Uint8Array(kicks.buffer) };
}
