/**
 * virtio-rng (Virtual I/O Device specification 1.2, chapter 5.4): random bytes for the driver's buffers,
 * at most so many in a period if that is limited.
 */
import type { RngBackend } from "../../backends/rng.ts";
import { contain } from "../../native/event_loop.ts";
import { type QueueElement, VirtqueueError } from "../../native/virtqueue.ts";
import type { VirtualClock, VirtualTimer } from "../device.ts";
import { VirtioDevice } from "./device.ts";
import { scatter, totalLength } from "./elements.ts";
import { commonFeatures, type CommonProperties } from "./features.ts";
import type { Virtqueue } from "./queue.ts";
import { type VirtioRngState, virtioRngState } from "./rng_state.ts";

const QUEUE_SIZE = 8;
/** Most bytes given for one request: a driver asks again. */
const REQUEST_LIMIT = 65536;
const NS_PER_MS = 1_000_000n;

/** How much randomness the guest may use. */
export interface RngProperties extends CommonProperties {
  /** Bytes in a period. */
  readonly maxBytes: number;
  /** Milliseconds. */
  readonly period: number;
}

/** The device. */
export class VirtioRng extends VirtioDevice<VirtioRngState> {
  readonly name = "virtio-rng";
  readonly deviceId = 4;
  readonly section = virtioRngState;
  readonly queueMaximum = 1;
  readonly configurationSize = 0;
  readonly #backend: RngBackend;
  readonly #properties: RngProperties;
  readonly #clock: VirtualClock;
  /** Ends the period in which bytes were given. */
  readonly #timer: VirtualTimer;
  #quota: number;
  /** The backend has been asked and has not answered yet. */
  #waiting = false;

  /** `backend` stays the caller's. */
  constructor(backend: RngBackend, properties: RngProperties, clock: VirtualClock) {
    super();
    this.#backend = backend;
    this.#properties = properties;
    this.#quota = properties.maxBytes;
    this.#clock = clock;
    this.#timer = clock.timer(() => {
      this.#quota = properties.maxBytes;
      this.#goOn();
    });
  }

  queueSizes(): readonly number[] {
    return [QUEUE_SIZE];
  }

  features(legacy: boolean): bigint {
    return commonFeatures(this.#properties, legacy);
  }

  readConfiguration(): Uint8Array {
    return new Uint8Array(0);
  }

  startQueue(queue: Virtqueue): void {
    this.notified(queue);
  }

  override notified(queue: Virtqueue): void {
    if (this.#waiting || this.#quota === 0) return;
    try {
      queue.serve((request) => this.#serve(queue, request));
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.host.fail(error);
    }
  }

  reset(): void {}

  saveOwn(): VirtioRngState {
    return {};
  }

  loadOwn(): void {}

  override [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
  }

  /** False if it has to wait for bytes. */
  #serve(queue: Virtqueue, request: QueueElement): boolean {
    const wanted = Math.min(totalLength(request.in), REQUEST_LIMIT, this.#quota);
    const bytes = wanted === 0
      ? new Uint8Array(0)
      : this.#backend.read(wanted, () => this.#arrived());
    if (bytes === undefined) {
      // It stays in the queue until the backend has something.
      queue.native.unpop();
      this.#waiting = true;
      return false;
    }
    queue.push(request, scatter(this.host.memory, request.in, bytes));
    this.#use(bytes.length);
    return this.#quota > 0;
  }

  #use(count: number): void {
    const { maxBytes, period } = this.#properties;
    if (maxBytes === Number.MAX_SAFE_INTEGER) return;
    this.#quota = Math.max(this.#quota - count, 0);
    if (this.#timer.expiry === undefined) {
      this.#timer.arm(this.#clock.now() + BigInt(period) * NS_PER_MS);
    }
  }

  #arrived(): void {
    this.#waiting = false;
    contain(() => this.#goOn(), (fault) => this.host.faulted(fault));
  }

  #goOn(): void {
    const [queue] = this.host.queues;
    if (queue?.live) this.notified(queue);
  }
}
