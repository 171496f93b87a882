/**
 * virtio-mmio: the registers through which a driver sets a device up (Virtual I/O Device specification
 * 1.2, chapters 4.2.2 and 4.2.4), in the modern form (version 2) or the legacy one (version 1), which is
 * QEMU's default.
 *
 *   reset -> features -> queues -> DRIVER_OK: queues start, notifications come by ioeventfd
 *     ^                                 |
 *     +--- status 0, machine's reset ---+--- malformed queue: broken until reset
 *
 * Queues are at work while the driver has set the device up, the machine runs, and nothing is broken.
 * InterruptStatus and InterruptACK are usually answered by vCPU threads and do not come here.
 */
import { type EventLoop, Events, type Watch } from "../../native/event_loop.ts";
import type { Fd } from "../../native/descriptor.ts";
import type { DeviceInterrupt } from "../../native/device_interrupt.ts";
import type { DeviceMemory } from "../../native/device_memory.ts";
import { read } from "../../native/file.ts";
import { VirtqueueError } from "../../native/virtqueue.ts";
import type { GuestMemory } from "../../memory/guest_memory.ts";
import type { SavedDevice } from "../../vmstate/saved_device.ts";
import type { StateDescription } from "../../vmstate/vmstate.ts";
import {
  type AccessSize,
  DeviceStateError,
  type RegisterRegion,
  type Resettable,
  type RunStateListener,
} from "../device.ts";
import type { SavedVirtioState, VirtioDevice, VirtioHost } from "./device.ts";
import { Feature, Status } from "./features.ts";
import { Virtqueue } from "./queue.ts";

/** Bytes of a transport's registers. */
export const VIRTIO_MMIO_LENGTH = 0x200;

/** Offsets of registers; those below 0x100 are 32 bits wide. */
export const Register = {
  magicValue: 0x000,
  version: 0x004,
  deviceId: 0x008,
  vendorId: 0x00c,
  deviceFeatures: 0x010,
  deviceFeaturesSel: 0x014,
  driverFeatures: 0x020,
  driverFeaturesSel: 0x024,
  guestPageSize: 0x028,
  queueSel: 0x030,
  queueNumMax: 0x034,
  queueNum: 0x038,
  queueAlign: 0x03c,
  queuePfn: 0x040,
  queueReady: 0x044,
  queueNotify: 0x050,
  interruptStatus: 0x060,
  interruptAck: 0x064,
  status: 0x070,
  queueDescLow: 0x080,
  queueDescHigh: 0x084,
  queueDriverLow: 0x090,
  queueDriverHigh: 0x094,
  queueDeviceLow: 0x0a0,
  queueDeviceHigh: 0x0a4,
  shmLenLow: 0x0b0,
  shmLenHigh: 0x0b4,
  configGeneration: 0x0fc,
  config: 0x100,
} as const;

/** "virt" */
const MAGIC = 0x74726976;
/** "QEMU" */
const VENDOR = 0x554d4551;
/** Number of queue selections that the register takes. */
const QUEUE_LIMIT = 1024;
/** What InterruptStatus shows for a change of configuration: QEMU says that queues may have work too. */
const CONFIGURATION_INTERRUPT = 3;

/** KVM's part: writes to QueueNotify that become signals of an eventfd. */
export interface NotificationRouter {
  /** Writes of `value` to the 32-bit register at `address` signal `fd`; `on` false ends that. */
  route(address: number, value: number, fd: Fd, on: boolean): void;
}

/** What a transport is made of. It takes over `device` and `interrupt`. */
export interface VirtioMmioOptions {
  readonly address: number;
  readonly legacy: boolean;
  readonly memory: GuestMemory;
  readonly deviceMemory: DeviceMemory;
  readonly interrupt: DeviceInterrupt;
  readonly loop: EventLoop;
  /** Absent: notifications come as writes to the register. */
  readonly notifications?: NotificationRouter;
  /** Takes messages for the user. */
  readonly tell: (message: string) => void;
}

/** A transport and the device behind it. */
export class VirtioMmio<Own>
  implements
    RegisterRegion,
    SavedDevice<SavedVirtioState<Own>>,
    Resettable,
    RunStateListener,
    VirtioHost,
    Disposable {
  readonly idstr: string;
  readonly instanceId = 0;
  readonly description: StateDescription<SavedVirtioState<Own>>;
  readonly device: VirtioDevice<Own>;
  readonly legacy: boolean;
  readonly memory: GuestMemory;
  readonly queues: readonly Virtqueue[];
  readonly #options: VirtioMmioOptions;
  readonly #offered: bigint;
  readonly #watches = new Map<Virtqueue, Watch>();
  readonly #routed = new Set<Virtqueue>();
  #features = 0n;
  #status = 0;
  #deviceFeaturesSel = 0;
  #driverFeaturesSel = 0;
  /** As the driver wrote them, modern only: low and high word. */
  #driverFeatures: [number, number] = [0, 0];
  #guestPageShift = 0;
  #queueSel = 0;
  #generation = 0;
  /** The configuration space as the driver last saw it. */
  #configuration: Uint8Array;
  #started = false;
  #broken = false;
  #running = false;
  #disposed = false;

  constructor(device: VirtioDevice<Own>, options: VirtioMmioOptions) {
    this.device = device;
    this.#options = options;
    this.legacy = options.legacy;
    this.memory = options.memory;
    this.description = device.description;
    this.idstr = `virtio-mmio@${options.address.toString(16).padStart(16, "0")}/${device.name}`;
    this.#offered = device.features(options.legacy);
    this.#configuration = new Uint8Array(device.configurationSize);
    const { deviceMemory, interrupt } = options;
    const sizes = device.queueSizes(0n);
    this.queues = Array.from(
      { length: device.queueMaximum },
      (_, index) => new Virtqueue(index, sizes[index] ?? 0, deviceMemory, interrupt),
    );
    device.attach(this);
  }

  get features(): bigint {
    return this.#features;
  }

  get driverReady(): boolean {
    return (this.#status & Status.driverOk) !== 0;
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= Register.config) return this.#readConfiguration(offset - Register.config, size);
    return size === 4 ? this.#readRegister(offset) : 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= Register.config) {
      this.#writeConfiguration(offset - Register.config, size, value);
    } else if (size === 4) {
      this.#writeRegister(offset, value);
    }
  }

  configurationChanged(): void {
    if (!this.driverReady) return;
    this.#generation = (this.#generation + 1) >>> 0;
    this.#options.interrupt.raise(CONFIGURATION_INTERRUPT);
  }

  fail(cause: VirtqueueError): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#options.tell(`${this.idstr}: ${cause.message}; the device waits for its reset`);
    this.#stopQueues();
    if ((this.#features & Feature.version1) !== 0n) this.#status |= Status.needsReset;
    this.configurationChanged();
  }

  runStateChanged(running: boolean): void {
    this.#running = running;
    if (running) this.#startQueues();
    else this.#stopQueues();
  }

  reset(): void {
    this.#resetDevice();
    this.#deviceFeaturesSel = 0;
    this.#driverFeaturesSel = 0;
    this.#guestPageShift = 0;
  }

  save(): SavedVirtioState<Own> {
    const modern = !this.legacy;
    const present = this.queues.filter(({ maximum }) => maximum > 0);
    return {
      hostFeaturesSel: this.#deviceFeaturesSel,
      guestFeaturesSel: this.#driverFeaturesSel,
      guestPageShift: this.#guestPageShift,
      status: this.#status,
      isr: this.#options.interrupt.status,
      queueSel: this.#queueSel,
      guestFeaturesLo: Number(BigInt.asUintN(32, this.#features)),
      config: this.#configuration.slice(),
      queues: present.map((queue) => queue.save()),
      device: this.device.saveOwn(),
      deviceEndian: undefined,
      guestFeaturesEx: undefined,
      guestFeatures: this.#offered >> 32n === 0n ? undefined : this.#features,
      rings: modern
        ? present.map(({ available, used }) => ({ avail: available, used }))
        : undefined,
      ringSizes: undefined,
      broken: this.#broken,
      mmio: modern
        ? {
          state: {
            guestFeatures: [...this.#driverFeatures],
            vqs: present.map(({ modern }) => structuredClone(modern)),
          },
        }
        : undefined,
      started: this.#started,
      packed: undefined,
      disabled: false,
    };
  }

  load(state: SavedVirtioState<Own>): void {
    const features = state.guestFeatures ?? BigInt(state.guestFeaturesLo);
    this.#check(state, features);
    this.#stopQueues();
    this.#resetDevice();
    this.#deviceFeaturesSel = state.hostFeaturesSel;
    this.#driverFeaturesSel = state.guestFeaturesSel;
    this.#guestPageShift = state.guestPageShift;
    this.#queueSel = state.queueSel;
    this.#negotiate(features);
    this.#status = state.status;
    this.#started = state.started || (state.status & Status.driverOk) !== 0;
    this.#broken = state.broken;
    this.#configuration.set(state.config.subarray(0, this.#configuration.length));
    state.queues.forEach((queue, index) =>
      this.queues[index]?.load(queue, this.legacy ? undefined : state.rings?.[index])
    );
    const mmio = state.mmio?.state;
    if (mmio) {
      this.#driverFeatures = [mmio.guestFeatures[0] ?? 0, mmio.guestFeatures[1] ?? 0];
      this.queues.forEach(({ modern }, index) => Object.assign(modern, mmio.vqs[index]));
    }
    this.#verifyRings();
    this.device.loadOwn(state.device);
    this.#options.interrupt.restore(state.isr);
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#stopQueues();
    for (const queue of this.queues) this.#unroute(queue);
    this.device[Symbol.dispose]();
    for (const queue of this.queues) queue[Symbol.dispose]();
    this.#options.interrupt[Symbol.dispose]();
  }

  #check(state: SavedVirtioState<Own>, features: bigint): void {
    const hex = (value: bigint) => `0x${value.toString(16)}`;
    if (!this.legacy !== (state.mmio !== undefined)) {
      throw new DeviceStateError(
        `the registers are ${this.legacy ? "legacy" : "modern"} ones here, other than at the ` +
          "source: virtio-mmio.force-legacy must be the same",
      );
    }
    if ((features & ~this.#offered) !== 0n) {
      throw new DeviceStateError(
        `Features ${hex(features)} unsupported. Allowed features: ${hex(this.#offered)}`,
      );
    }
    if ((state.guestFeaturesEx ?? 0n) !== 0n) {
      throw new DeviceStateError(
        `Features ${hex((state.guestFeaturesEx ?? 0n) << 64n)} unsupported. ` +
          `Allowed features: ${hex(this.#offered)}`,
      );
    }
    const sizes = this.device.queueSizes(features);
    state.queues.forEach(({ num }, index) => {
      if (num === 0 || num > (sizes[index] ?? 0)) {
        throw new DeviceStateError(
          `queue ${index} has ${num} entries, of at most ${sizes[index] ?? 0}`,
        );
      }
    });
    this.device.checkOwn(state.device);
  }

  /** RAM is loaded before devices are: rings and positions must fit. */
  #verifyRings(): void {
    if (this.#broken) return;
    for (const queue of this.queues) {
      try {
        queue.verify(this.#features);
      } catch (cause) {
        if (!(cause instanceof VirtqueueError)) throw cause;
        throw new DeviceStateError(`VQ ${queue.index}: ${cause.message}`, { cause });
      }
    }
  }

  #readRegister(offset: number): number {
    const queue = this.queues[this.#queueSel];
    switch (offset) {
      case Register.magicValue:
        return MAGIC;
      case Register.version:
        return this.legacy ? 1 : 2;
      case Register.deviceId:
        return this.device.deviceId;
      case Register.vendorId:
        return VENDOR;
      case Register.deviceFeatures:
        return this.#offeredWord();
      case Register.queueNumMax:
        return queue?.maximum ?? 0;
      case Register.queuePfn:
        return this.legacy
          ? Number(BigInt.asUintN(32, (queue?.descriptors ?? 0n) >> BigInt(this.#guestPageShift)))
          : 0;
      case Register.queueReady:
        return queue?.modern.enabled ? 1 : 0;
      case Register.interruptStatus:
        return this.#options.interrupt.status;
      case Register.status:
        return this.#status;
      case Register.shmLenLow:
      case Register.shmLenHigh:
        return 0xffffffff;
      case Register.configGeneration:
        return this.legacy ? 0 : this.#generation;
      default:
        return 0;
    }
  }

  #offeredWord(): number {
    if (this.#deviceFeaturesSel === 0) return Number(BigInt.asUintN(32, this.#offered));
    return this.legacy ? 0 : Number(BigInt.asUintN(32, this.#offered >> 32n));
  }

  #writeRegister(offset: number, value: number): void {
    switch (offset) {
      case Register.deviceFeaturesSel:
        this.#deviceFeaturesSel = value === 0 ? 0 : 1;
        return;
      case Register.driverFeaturesSel:
        this.#driverFeaturesSel = value === 0 ? 0 : 1;
        return;
      case Register.driverFeatures:
        if (!this.legacy) this.#driverFeatures[this.#driverFeaturesSel === 0 ? 0 : 1] = value;
        else if (this.#driverFeaturesSel === 0) this.#negotiate(BigInt(value));
        return;
      case Register.queueSel:
        if (value < QUEUE_LIMIT) this.#queueSel = value;
        return;
      case Register.queueNotify:
        this.#notify(value);
        return;
      case Register.interruptAck:
        this.#options.interrupt.acknowledge(value);
        return;
      case Register.status:
        this.#setStatus(value & 0xff);
        return;
    }
    const queue = this.queues[this.#queueSel];
    if (this.legacy) this.#writeLegacyRegister(offset, value, queue);
    else if (queue && queue.maximum > 0) this.#writeQueueRegister(offset, value, queue);
  }

  #writeLegacyRegister(offset: number, value: number, queue: Virtqueue | undefined): void {
    if (offset === Register.guestPageSize) {
      // The number of trailing zeros; of no bit at all, none.
      this.#guestPageShift = value === 0 ? 0 : 31 - Math.clz32(value & -value);
      return;
    }
    if (queue === undefined || queue.maximum === 0) return;
    switch (offset) {
      case Register.queueNum:
        if (queue.live) return;
        queue.setSize(value);
        queue.placeLegacy(queue.descriptors);
        return;
      case Register.queueAlign:
        if (queue.live) return;
        queue.alignment = value;
        queue.placeLegacy(queue.descriptors);
        return;
      case Register.queuePfn:
        if (value === 0) {
          this.#resetDevice();
          return;
        }
        this.#stopQueue(queue);
        queue.placeLegacy(BigInt.asUintN(64, BigInt(value) << BigInt(this.#guestPageShift)));
        this.#startQueues();
        return;
    }
  }

  #writeQueueRegister(offset: number, value: number, queue: Virtqueue): void {
    const { modern } = queue;
    switch (offset) {
      case Register.queueNum:
        modern.num = value & 0xffff;
        if (!queue.live) queue.setSize(value);
        return;
      case Register.queueReady:
        this.#stopQueue(queue);
        modern.enabled = value !== 0;
        if (value === 0) return;
        queue.placeModern();
        this.#startQueues();
        return;
      case Register.queueDescLow:
        modern.desc[0] = value;
        return;
      case Register.queueDescHigh:
        modern.desc[1] = value;
        return;
      case Register.queueDriverLow:
        modern.avail[0] = value;
        return;
      case Register.queueDriverHigh:
        modern.avail[1] = value;
        return;
      case Register.queueDeviceLow:
        modern.used[0] = value;
        return;
      case Register.queueDeviceHigh:
        modern.used[1] = value;
        return;
    }
  }

  #setStatus(value: number): void {
    if (value === 0) {
      this.#resetDevice();
      return;
    }
    const newlyAgreed = (value & ~this.#status & Status.featuresOk) !== 0;
    if (!this.legacy && newlyAgreed) {
      const [low, high] = this.#driverFeatures;
      this.#negotiate(BigInt(high) << 32n | BigInt(low));
    }
    const wasReady = this.driverReady;
    this.#status = value;
    if (wasReady === this.driverReady) return;
    this.#started = this.driverReady;
    if (!this.driverReady) {
      this.#stopQueues();
      return;
    }
    this.#startQueues();
  }

  /** Takes the features that the driver wants, of those that are offered. */
  #negotiate(wanted: bigint): void {
    if ((this.#status & Status.featuresOk) !== 0) return;
    // A legacy driver may come to this while queues are at work.
    this.#stopQueues();
    this.#features = wanted & this.#offered;
    this.#fitQueues();
    this.device.negotiated(this.#features);
    this.#startQueues();
  }

  /** What queues there are may depend on the features. */
  #fitQueues(): void {
    const sizes = this.device.queueSizes(this.#features);
    for (const queue of this.queues) {
      const maximum = sizes[queue.index] ?? 0;
      if (queue.maximum === maximum) continue;
      this.#stopQueue(queue);
      queue.maximum = maximum;
      queue.reset();
    }
  }

  /** Status 0: everything but the selections of features and the page size. */
  #resetDevice(): void {
    this.#stopQueues();
    this.device.reset();
    for (const queue of this.queues) {
      this.#unroute(queue);
      queue.reset();
    }
    this.#status = 0;
    this.#features = 0n;
    this.#driverFeatures = [0, 0];
    this.#queueSel = 0;
    this.#generation = 0;
    this.#started = false;
    this.#broken = false;
    this.#fitQueues();
    this.device.negotiated(0n);
    this.#options.interrupt.restore(0);
  }

  #startQueues(): void {
    if (!this.#running || !this.#started) return;
    for (const queue of this.queues) {
      if (this.#broken) return;
      if (queue.live || !queue.configured || !(this.legacy || queue.modern.enabled)) continue;
      try {
        queue.start(this.#features);
        this.#route(queue);
        this.device.startQueue(queue);
      } catch (error) {
        if (!(error instanceof VirtqueueError)) throw error;
        this.fail(error);
        return;
      }
    }
    if (!this.#broken) this.device.queuesStarted();
  }

  #stopQueues(): void {
    for (const queue of this.queues) this.#stopQueue(queue);
  }

  #stopQueue(queue: Virtqueue): void {
    if (!queue.live) return;
    this.device.stopQueue(queue);
    queue.stop();
  }

  /** Notifications of the queue come by its eventfd from now on. */
  #route(queue: Virtqueue): void {
    if (this.#routed.has(queue)) return;
    this.#routed.add(queue);
    const { notifications, address, loop } = this.#options;
    notifications?.route(address + Register.queueNotify, queue.index, queue.kickFd, true);
    if (this.device.servedNatively(queue)) return;
    const count = new Uint8Array(8);
    const watch = loop.watch(queue.kickFd, Events.readable, () => {
      read(queue.kickFd, count);
      if (queue.live) this.device.notified(queue);
    });
    this.#watches.set(queue, watch);
  }

  #unroute(queue: Virtqueue): void {
    this.#watches.get(queue)?.[Symbol.dispose]();
    this.#watches.delete(queue);
    if (!this.#routed.delete(queue)) return;
    const { notifications, address } = this.#options;
    notifications?.route(address + Register.queueNotify, queue.index, queue.kickFd, false);
  }

  #notify(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined || this.#broken) return;
    // Some old drivers notify before they say that they are ready.
    if (!this.#started && (this.#features & Feature.version1) === 0n && queue.configured) {
      this.#started = true;
      this.#startQueues();
    }
    if (!queue.live) return;
    if (this.device.servedNatively(queue)) queue.signal();
    else this.device.notified(queue);
  }

  #readConfiguration(offset: number, size: AccessSize): number {
    this.#configuration = Uint8Array.from(this.device.readConfiguration());
    if (offset + size > this.#configuration.length) return 0xffffffff >>> (32 - 8 * size);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) {
      value = value * 256 + (this.#configuration[offset + i] ?? 0);
    }
    return value;
  }

  #writeConfiguration(offset: number, size: AccessSize, value: number): void {
    if (offset + size > this.device.configurationSize) return;
    const bytes = Uint8Array.from({ length: size }, (_, i) => value >>> (8 * i));
    this.device.writeConfiguration(offset, bytes);
  }
}

/** A transport without a device: a driver finds that there is none. */
export class EmptyTransport implements RegisterRegion {
  readonly #version: number;

  constructor(legacy: boolean) {
    this.#version = legacy ? 1 : 2;
  }

  read(offset: number, _size: AccessSize): number {
    switch (offset) {
      case Register.magicValue:
        return MAGIC;
      case Register.version:
        return this.#version;
      case Register.vendorId:
        return VENDOR;
      default:
        return 0;
    }
  }

  write(): void {}
}
