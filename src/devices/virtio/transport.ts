/**
 * What any transport does behind its registers (Virtual I/O Device specification 1.2, chapters 2.1 to
 * 2.4 and 3.1): the device's status, the negotiation of features, the configuration space and the life of
 * the queues.
 *
 *   reset -> features -> queues -> DRIVER_OK: queues start, notifications come by eventfd
 *     ^                                 |
 *     +--- status 0, machine's reset ---+--- malformed queue: broken until reset
 *
 * Queues are at work while the driver has set the device up, the machine runs, and nothing is broken.
 */
import type { DeviceInterrupt } from "../../native/device_interrupt.ts";
import type { DeviceMemory } from "../../native/device_memory.ts";
import { VirtqueueError } from "../../native/virtqueue.ts";
import type { GuestMemory } from "../../memory/guest_memory.ts";
import { type AccessSize, DeviceBusyError, DeviceStateError } from "../device.ts";
import type { VirtioDevice, VirtioHost } from "./device.ts";
import { Feature, Status } from "./features.ts";
import type { HostNotifiers, NotifyAddresses } from "./host_notifiers.ts";
import { Virtqueue } from "./queue.ts";
import type { VirtioCommonState, VirtioQueueState } from "./virtio_state.ts";

/** Which drivers a transport's registers are for: those before version 1 of the specification, later ones, both. */
export type DriverKinds = "legacy" | "modern" | "transitional";

/** What a transport is made of. It takes over `interrupt`. */
export interface TransportOptions {
  /** The device's name in messages. */
  readonly idstr: string;
  readonly drivers: DriverKinds;
  readonly memory: GuestMemory;
  readonly deviceMemory: DeviceMemory;
  readonly interrupt: DeviceInterrupt;
  readonly notifiers: HostNotifiers;
  /** Takes messages for the user. */
  readonly report: (message: string) => void;
  /** Takes faults of the device, which stop the machine. */
  readonly faulted: (fault: unknown) => void;
  /** The last requests that were under way in stopped queues have ended. */
  readonly requestsEnded: () => void;
}

/** The part of a saved state that is not the registers'. */
type TransportState<Own, Queue = VirtioQueueState> = Omit<
  VirtioCommonState<Own, Queue>,
  "queueSel" | "extra"
>;

/** A queue's saved position does not fit its rings in the guest's memory. */
export class RingStateError extends DeviceStateError {}

/** The transport of one device, without registers. It takes over the device. */
export class VirtioTransport<Own> implements VirtioHost, Disposable {
  readonly memory: GuestMemory;
  readonly queues: readonly Virtqueue[];
  readonly interrupt: DeviceInterrupt;
  /** Features that the device offers, to whichever driver. */
  readonly offered: bigint;
  readonly #drivers: DriverKinds;
  readonly #device: VirtioDevice<Own>;
  readonly #options: TransportOptions;
  /** Queues that take no requests and have some under way. They are live until those have ended. */
  readonly #stopping = new Set<Virtqueue>();
  #features = 0n;
  #status = 0;
  #generation = 0;
  /** The configuration space as the driver last saw it. */
  #configuration: Uint8Array;
  #started = false;
  #broken = false;
  #running = false;
  #disposed = false;

  constructor(device: VirtioDevice<Own>, options: TransportOptions) {
    const { deviceMemory, interrupt } = options;
    this.#device = device;
    this.#options = options;
    this.#drivers = options.drivers;
    this.memory = options.memory;
    this.interrupt = interrupt;
    this.offered = this.offeredTo("legacy") | this.offeredTo("modern");
    this.#configuration = new Uint8Array(device.configurationSize);
    const sizes = device.queueSizes(0n);
    this.queues = Array.from(
      { length: device.queueMaximum },
      (_, index) => new Virtqueue(index, sizes[index] ?? 0, deviceMemory, interrupt),
    );
    device.attach(this);
  }

  /** Features that the device offers to a driver of that kind; none if the registers are not for it. */
  offeredTo(driver: "legacy" | "modern"): bigint {
    if (this.#drivers !== driver && this.#drivers !== "transitional") return 0n;
    return this.#device.features(driver === "legacy");
  }

  /** The driver is a legacy one, as far as is known: it has not accepted VIRTIO_F_VERSION_1. */
  get legacy(): boolean {
    return this.#drivers === "legacy" ||
      this.#drivers === "transitional" && (this.#features & Feature.version1) === 0n;
  }

  get features(): bigint {
    return this.#features;
  }

  get status(): number {
    return this.#status;
  }

  get driverReady(): boolean {
    return (this.#status & Status.driverOk) !== 0;
  }

  /** Counts the changes of the configuration space. */
  get generation(): number {
    return this.#generation;
  }

  configurationChanged(): void {
    if (!this.driverReady) return;
    this.#generation = (this.#generation + 1) >>> 0;
    this.interrupt.configurationChanged();
  }

  fail(cause: VirtqueueError): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#options.report(
      `${this.#options.idstr}: ${cause.message}; the device waits for its reset`,
    );
    this.stopQueues();
    if ((this.#features & Feature.version1) !== 0n) this.#status |= Status.needsReset;
    this.configurationChanged();
  }

  faulted(fault: unknown): void {
    this.#options.faulted(fault);
  }

  queueStopped(queue: Virtqueue): void {
    if (!this.#stopping.delete(queue)) return;
    queue.stop();
    if (this.#stopping.size === 0) this.#options.requestsEnded();
  }

  /** Whose requests are under way although they were to be the last; `undefined`: nobody's. */
  get requestsUnderWay(): string | undefined {
    return this.#stopping.size === 0 ? undefined : this.#device.requestsOf;
  }

  /** The machine runs from now on, or does not. */
  runStateChanged(running: boolean): void {
    this.#running = running;
    if (running) this.startQueues();
    else this.stopQueues();
  }

  /** The guest placed the queues' notify addresses elsewhere, or nowhere. */
  moveNotifyAddresses(addresses: NotifyAddresses): void {
    this.#options.notifiers.move(addresses);
  }

  /** Takes the features that the driver wants, of those that are offered. */
  negotiate(wanted: bigint): void {
    if ((this.#status & Status.featuresOk) !== 0) return;
    // A legacy driver may come to this while queues are at work.
    this.stopQueues();
    this.#requireIdle();
    this.#features = wanted & this.offered;
    this.#fitQueues();
    this.#device.negotiated(this.#features);
    this.startQueues();
  }

  /** The driver wrote the status, which is not 0. */
  setStatus(value: number): void {
    const wasReady = this.driverReady;
    this.#status = value;
    if (wasReady === this.driverReady) return;
    this.#started = this.driverReady;
    if (this.driverReady) this.startQueues();
    else this.stopQueues();
  }

  /** As after power-on. Throws a DeviceBusyError, having changed nothing, while requests are under way. */
  reset(): void {
    this.stopQueues();
    this.#requireIdle();
    this.#device.reset();
    for (const queue of this.queues) {
      this.#options.notifiers.deassign(queue);
      queue.reset();
    }
    this.#status = 0;
    this.#features = 0n;
    this.#generation = 0;
    this.#started = false;
    this.#broken = false;
    this.#fitQueues();
    this.#device.negotiated(0n);
    this.interrupt.restore(0);
  }

  /** Starts what queues can be at work and are not yet. */
  startQueues(): void {
    if (!this.#running || !this.#started) return;
    for (const queue of this.queues) {
      if (this.#broken) return;
      if (this.#stopping.delete(queue)) this.#device.startQueue(queue);
      if (queue.live || !queue.configured || !(this.legacy || queue.modern.enabled)) continue;
      try {
        queue.start(this.#features);
        this.#assignNotifier(queue);
        this.#device.startQueue(queue);
      } catch (error) {
        if (!(error instanceof VirtqueueError)) throw error;
        this.fail(error);
        return;
      }
    }
    if (!this.#broken) this.#device.queuesStarted();
  }

  /** Stops a queue. Throws a DeviceBusyError while requests of it are under way. */
  stopQueue(queue: Virtqueue): void {
    this.#stop(queue);
    if (this.#stopping.has(queue)) this.#requireIdle();
  }

  /** The driver notified queue `index` by a register. */
  notify(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined || this.#broken) return;
    // Some old drivers notify before they say that they are ready.
    if (!this.#started && (this.#features & Feature.version1) === 0n && queue.configured) {
      this.#started = true;
      this.startQueues();
    }
    if (!queue.live) return;
    if (this.#device.servedNatively(queue)) queue.signal();
    else this.#device.notified(queue);
  }

  readConfiguration(offset: number, size: AccessSize): number {
    this.#configuration = Uint8Array.from(this.#device.readConfiguration());
    if (offset + size > this.#configuration.length) return 0xffffffff >>> (32 - 8 * size);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) {
      value = value * 256 + (this.#configuration[offset + i] ?? 0);
    }
    return value;
  }

  writeConfiguration(offset: number, size: AccessSize, value: number): void {
    if (offset + size > this.#device.configurationSize) return;
    const bytes = Uint8Array.from({ length: size }, (_, i) => value >>> (8 * i));
    this.#device.writeConfiguration(offset, bytes);
  }

  save(): TransportState<Own, Required<VirtioQueueState>> {
    const present = this.queues.filter(({ maximum }) => maximum > 0);
    return {
      status: this.#status,
      isr: this.interrupt.status,
      guestFeaturesLo: Number(BigInt.asUintN(32, this.#features)),
      config: this.#configuration.slice(),
      queues: present.map((queue) => queue.save()),
      device: this.#device.saveOwn(),
      deviceEndian: undefined,
      guestFeaturesEx: undefined,
      guestFeatures: this.offered >> 32n === 0n ? undefined : this.#features,
      rings: this.#drivers === "legacy"
        ? undefined
        : present.map(({ available, used }) => ({ avail: available, used })),
      ringSizes: undefined,
      broken: this.#broken,
      started: this.#started,
      packed: undefined,
      disabled: false,
    };
  }

  /** Throws if the device cannot have the state. */
  check(state: TransportState<Own>): void {
    const features = featuresOf(state);
    const hex = (value: bigint) => `0x${value.toString(16)}`;
    if ((features & ~this.offered) !== 0n) {
      throw new DeviceStateError(
        `Features ${hex(features)} unsupported. Allowed features: ${hex(this.offered)}`,
      );
    }
    if ((state.guestFeaturesEx ?? 0n) !== 0n) {
      throw new DeviceStateError(
        `Features ${hex((state.guestFeaturesEx ?? 0n) << 64n)} unsupported. ` +
          `Allowed features: ${hex(this.offered)}`,
      );
    }
    const sizes = this.#device.queueSizes(features);
    state.queues.forEach(({ num }, index) => {
      if (num === 0 || num > (sizes[index] ?? 0)) {
        throw new DeviceStateError(
          `queue ${index} has ${num} entries, of at most ${sizes[index] ?? 0}`,
        );
      }
    });
    this.#device.checkOwn(state.device);
  }

  /** Takes over a state that was checked, after a reset. */
  load(state: TransportState<Own>): void {
    this.negotiate(featuresOf(state));
    this.#status = state.status;
    this.#started = state.started || (state.status & Status.driverOk) !== 0;
    this.#broken = state.broken;
    this.#configuration.set(state.config.subarray(0, this.#configuration.length));
    state.queues.forEach((queue, index) =>
      this.queues[index]?.load(
        queue,
        this.#drivers === "legacy" ? undefined : state.rings?.[index],
      )
    );
    this.#verifyRings();
    this.#device.loadOwn(state.device);
    this.interrupt.restore(state.isr);
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.stopQueues();
    for (const queue of this.queues) this.#options.notifiers.deassign(queue);
    this.#device[Symbol.dispose]();
    for (const queue of this.queues) queue[Symbol.dispose]();
    this.interrupt[Symbol.dispose]();
  }

  /** RAM is loaded before devices are: rings and positions must fit. */
  #verifyRings(): void {
    if (this.#broken) return;
    for (const queue of this.queues) {
      try {
        queue.verify(this.#features);
      } catch (cause) {
        if (!(cause instanceof VirtqueueError)) throw cause;
        throw new RingStateError(`VQ ${queue.index}: ${cause.message}`, { cause });
      }
    }
  }

  /** What queues there are may depend on the features. */
  #fitQueues(): void {
    const sizes = this.#device.queueSizes(this.#features);
    for (const queue of this.queues) {
      const maximum = sizes[queue.index] ?? 0;
      if (queue.maximum === maximum) continue;
      this.stopQueue(queue);
      queue.maximum = maximum;
      queue.reset();
    }
  }

  /** No queue takes requests any more. Some may be under way ({@linkcode requestsUnderWay}). */
  stopQueues(): void {
    for (const queue of this.queues) this.#stop(queue);
  }

  #stop(queue: Virtqueue): void {
    if (!queue.live || this.#stopping.has(queue)) return;
    if (this.#device.stopQueue(queue)) queue.stop();
    else this.#stopping.add(queue);
  }

  #requireIdle(): void {
    if (this.#stopping.size > 0) throw new DeviceBusyError(this.#device.requestsOf);
  }

  #assignNotifier(queue: Virtqueue): void {
    const native = this.#device.servedNatively(queue);
    this.#options.notifiers.assign(
      queue,
      native ? undefined : () => this.#device.notified(queue),
    );
  }
}

/** The features that the driver accepted. */
function featuresOf(
  { guestFeatures, guestFeaturesLo }: Pick<
    TransportState<unknown>,
    "guestFeatures" | "guestFeaturesLo"
  >,
): bigint {
  return guestFeatures ?? BigInt(guestFeaturesLo);
}
