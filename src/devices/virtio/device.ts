/** What a virtio device is to its transport, and what it gets from it. */
import type { GuestMemory } from "../../memory/guest_memory.ts";
import type { VirtqueueError } from "../../native/virtqueue.ts";
import type { Virtqueue } from "./queue.ts";
import type { VirtioSection } from "./virtio_state.ts";

/** A device's dependencies: its transport. */
export interface VirtioHost {
  readonly memory: GuestMemory;
  /** The driver is a legacy one. */
  readonly legacy: boolean;
  /** Features that the driver accepted. */
  readonly features: bigint;
  readonly queues: readonly Virtqueue[];
  /** The driver has set the device up. */
  readonly driverReady: boolean;
  /** Notifies the driver that the configuration space is different. */
  configurationChanged(): void;
  /** The driver broke the rules: the device does nothing more until it is reset. */
  fail(cause: VirtqueueError): void;
  /** The last requests of a queue that was stopped have ended. */
  queueStopped(queue: Virtqueue): void;
  /** The device itself, or what it needs of the host, has failed: the machine is to stop. */
  faulted(fault: unknown): void;
}

/**
 * A device model. `Own` is what its saved state has beyond transport and queues.
 *
 * The transport calls it in this order: features, queue by queue startQueue, queuesStarted; when the
 * machine stops, stopQueue for all queues, and the same again when it goes on. reset may come at any
 * time, after stopQueue.
 */
export abstract class VirtioDevice<Own> implements Disposable {
  /** Its name in streams, such as `virtio-blk`. */
  abstract readonly name: string;
  /** Its number in the specification, chapter 5. */
  abstract readonly deviceId: number;
  /** Its part of its section in streams. */
  abstract readonly section: VirtioSection<Own>;
  /** Most queues that it can ever have. */
  abstract readonly queueMaximum: number;
  /** Bytes of its configuration space. */
  abstract readonly configurationSize: number;
  #host: VirtioHost | undefined;

  /** Gives the device its transport. Called once, before anything else. */
  attach(host: VirtioHost): void {
    this.#host = host;
  }

  /** Entries of each queue that a driver sees which accepted `features`. */
  abstract queueSizes(features: bigint): readonly number[];

  /** Features that it offers to a legacy driver, or to a modern one. */
  abstract features(legacy: boolean): bigint;

  /** The configuration space as the driver is to see it. */
  abstract readConfiguration(): Uint8Array;

  /** The driver wrote to the configuration space; all bytes are within it. */
  writeConfiguration(_offset: number, _bytes: Uint8Array): void {}

  /** The driver accepted `features`. */
  negotiated(_features: bigint): void {}

  /**
   * The rings of `queue` are found: its requests may be taken from now on. Throws a VirtqueueError if
   * one of them breaks the rules.
   */
  abstract startQueue(queue: Virtqueue): void;

  /**
   * No request of `queue` will be taken any more. True: none is being worked on either. False: some are
   * under way; the host's queueStopped says when they have ended, unless the queue is started before.
   */
  stopQueue(_queue: Virtqueue): boolean {
    return true;
  }

  /** Whose requests they are, for messages. */
  get requestsOf(): string {
    return this.name;
  }

  /** The driver notified `queue`. Not called for queues that the C library serves. */
  notified(_queue: Virtqueue): void {}

  /** Whether the queue's notifications go to the C library. */
  servedNatively(_queue: Virtqueue): boolean {
    return false;
  }

  /** All queues that the driver has set up are started: it is ready, or the machine goes on. */
  queuesStarted(): void {}

  /** As after power-on. */
  abstract reset(): void;

  /** The device's own part of the saved state. All queues are stopped. */
  abstract saveOwn(): Own;

  /** Throws if the device cannot have the state. */
  checkOwn(_state: Own): void {}

  /** Takes over the device's own part of a state; features and queues are loaded already. */
  abstract loadOwn(state: Own): void;

  /** Ends what the device does on its own. All queues are stopped. */
  [Symbol.dispose](): void {}

  protected get host(): VirtioHost {
    if (this.#host === undefined) throw new Error(`${this.name} has no transport`);
    return this.#host;
  }

  protected has(feature: bigint): boolean {
    return (this.host.features & feature) !== 0n;
  }
}
