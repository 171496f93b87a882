/**
 * virtio-mmio: the registers through which a driver sets a device up (Virtual I/O Device specification
 * 1.2, chapters 4.2.2 and 4.2.4), in the modern form (version 2) or the legacy one (version 1), which is
 * QEMU's default. What they bring about is transport.ts's.
 *
 * InterruptStatus and InterruptACK are usually answered by vCPU threads and do not come here, and
 * notifications usually come by eventfd.
 */
import type { EventLoop } from "../../native/event_loop.ts";
import type { DeviceInterrupt } from "../../native/device_interrupt.ts";
import type { DeviceMemory } from "../../native/device_memory.ts";
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
import type { VirtioDevice } from "./device.ts";
import { Status } from "./features.ts";
import { HostNotifiers, type NotificationRouter } from "./host_notifiers.ts";
import { type MmioState, mmioState } from "./mmio_state.ts";
import { MAGIC, Register, VENDOR, Version } from "./mmio_registers.ts";
import type { Virtqueue } from "./queue.ts";
import { VirtioTransport } from "./transport.ts";

/** Number of queue selections that the register takes. */
const QUEUE_LIMIT = 1024;

/** What a transport is made of. It takes over `interrupt`. */
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
  readonly report: (message: string) => void;
  /** Takes faults of the device, which stop the machine. */
  readonly faulted: (fault: unknown) => void;
  /** The last requests that were under way in stopped queues have ended. */
  readonly requestsEnded: () => void;
}

/** What the driver has selected, as it is saved. */
type SelectorState = Pick<
  MmioState<unknown>,
  "hostFeaturesSel" | "guestFeaturesSel" | "guestPageShift" | "queueSel"
>;

/** The registers of a transport, and the device behind it, which it takes over. */
export class VirtioMmio<Own>
  implements RegisterRegion, SavedDevice<MmioState<Own>>, Resettable, RunStateListener, Disposable {
  readonly idstr: string;
  readonly instanceId = 0;
  readonly description: StateDescription<MmioState<Own>>;
  readonly device: VirtioDevice<Own>;
  readonly legacy: boolean;
  readonly #transport: VirtioTransport<Own>;
  #state: SelectorState = {
    hostFeaturesSel: 0,
    guestFeaturesSel: 0,
    guestPageShift: 0,
    queueSel: 0,
  };
  /** As the driver wrote them, modern only: low and high word. */
  #driverFeatures: [number, number] = [0, 0];

  constructor(device: VirtioDevice<Own>, options: VirtioMmioOptions) {
    const { address, legacy, notifications, loop, faulted } = options;
    this.device = device;
    this.legacy = legacy;
    this.description = mmioState(device.section);
    this.idstr = `virtio-mmio@${address.toString(16).padStart(16, "0")}/${device.name}`;
    this.#transport = new VirtioTransport(device, {
      ...options,
      drivers: legacy ? "legacy" : "modern",
      idstr: this.idstr,
      notifiers: new HostNotifiers(
        ({ index }) => [{ address: address + Register.queueNotify, size: 4, value: index }],
        notifications,
        loop,
        faulted,
      ),
    });
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= Register.config) {
      return this.#transport.readConfiguration(offset - Register.config, size);
    }
    return size === 4 ? this.#readRegister(offset) : 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= Register.config) {
      this.#transport.writeConfiguration(offset - Register.config, size, value);
    } else if (size === 4) {
      this.#writeRegister(offset, value);
    }
  }

  /** Whose requests are under way although their queues were stopped; `undefined`: nobody's. */
  get requestsUnderWay(): string | undefined {
    return this.#transport.requestsUnderWay;
  }

  /** No queue takes requests any more: the machine is to be reset. */
  stopQueues(): void {
    this.#transport.stopQueues();
  }

  runStateChanged(running: boolean): void {
    this.#transport.runStateChanged(running);
  }

  reset(): void {
    this.#resetDevice();
    this.#state = { ...this.#state, hostFeaturesSel: 0, guestFeaturesSel: 0, guestPageShift: 0 };
  }

  save(): MmioState<Own> {
    const present = this.#transport.queues.filter(({ maximum }) => maximum > 0);
    return {
      ...this.#transport.save(),
      ...this.#state,
      extra: this.legacy ? undefined : {
        state: {
          guestFeatures: [...this.#driverFeatures],
          vqs: present.map(({ modern }) => structuredClone(modern)),
        },
      },
    };
  }

  load(state: MmioState<Own>): void {
    if (!this.legacy !== (state.extra !== undefined)) {
      throw new DeviceStateError(
        `the registers are ${this.legacy ? "legacy" : "modern"} ones here, other than at the ` +
          "source: virtio-mmio.force-legacy must be the same",
      );
    }
    this.#transport.check(state);
    this.#resetDevice();
    const { hostFeaturesSel, guestFeaturesSel, guestPageShift, queueSel } = state;
    this.#state = { hostFeaturesSel, guestFeaturesSel, guestPageShift, queueSel };
    this.#transport.load(state);
    const modern = state.extra?.state;
    if (modern) {
      this.#driverFeatures = [modern.guestFeatures[0] ?? 0, modern.guestFeatures[1] ?? 0];
      this.#transport.queues.forEach((queue, index) =>
        Object.assign(queue.modern, modern.vqs[index])
      );
    }
  }

  [Symbol.dispose](): void {
    this.#transport[Symbol.dispose]();
  }

  #readRegister(offset: number): number {
    const queue = this.#transport.queues[this.#state.queueSel];
    switch (offset) {
      case Register.magicValue:
        return MAGIC;
      case Register.version:
        return this.legacy ? Version.legacy : Version.modern;
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
          ? Number(
            BigInt.asUintN(32, (queue?.descriptors ?? 0n) >> BigInt(this.#state.guestPageShift)),
          )
          : 0;
      case Register.queueReady:
        return queue?.modern.enabled ? 1 : 0;
      case Register.interruptStatus:
        return this.#transport.interrupt.status;
      case Register.status:
        return this.#transport.status;
      case Register.shmLenLow:
      case Register.shmLenHigh:
        return 0xffffffff;
      case Register.configGeneration:
        return this.legacy ? 0 : this.#transport.generation;
      default:
        return 0;
    }
  }

  #offeredWord(): number {
    if (this.#state.hostFeaturesSel === 0) {
      return Number(BigInt.asUintN(32, this.#transport.offered));
    }
    return this.legacy ? 0 : Number(BigInt.asUintN(32, this.#transport.offered >> 32n));
  }

  #writeRegister(offset: number, value: number): void {
    switch (offset) {
      case Register.deviceFeaturesSel:
        this.#state.hostFeaturesSel = value === 0 ? 0 : 1;
        return;
      case Register.driverFeaturesSel:
        this.#state.guestFeaturesSel = value === 0 ? 0 : 1;
        return;
      case Register.driverFeatures:
        if (!this.legacy) this.#driverFeatures[this.#state.guestFeaturesSel === 0 ? 0 : 1] = value;
        else if (this.#state.guestFeaturesSel === 0) this.#transport.negotiate(BigInt(value));
        return;
      case Register.queueSel:
        if (value < QUEUE_LIMIT) this.#state.queueSel = value;
        return;
      case Register.queueNotify:
        this.#transport.notify(value);
        return;
      case Register.interruptAck:
        this.#transport.interrupt.acknowledge(value);
        return;
      case Register.status:
        this.#setStatus(value & 0xff);
        return;
    }
    const queue = this.#transport.queues[this.#state.queueSel];
    if (this.legacy) this.#writeLegacyRegister(offset, value, queue);
    else if (queue && queue.maximum > 0) this.#writeQueueRegister(offset, value, queue);
  }

  #writeLegacyRegister(offset: number, value: number, queue: Virtqueue | undefined): void {
    if (offset === Register.guestPageSize) {
      // The number of trailing zeros; of no bit at all, none.
      this.#state.guestPageShift = value === 0 ? 0 : 31 - Math.clz32(value & -value);
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
        this.#transport.stopQueue(queue);
        queue.placeLegacy(BigInt.asUintN(64, BigInt(value) << BigInt(this.#state.guestPageShift)));
        this.#transport.startQueues();
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
        this.#transport.stopQueue(queue);
        modern.enabled = value !== 0;
        if (value === 0) return;
        queue.placeModern();
        this.#transport.startQueues();
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
    const newlyAgreed = (value & ~this.#transport.status & Status.featuresOk) !== 0;
    if (!this.legacy && newlyAgreed) {
      const [low, high] = this.#driverFeatures;
      this.#transport.negotiate(BigInt(high) << 32n | BigInt(low));
    }
    this.#transport.setStatus(value);
  }

  /** Status 0: everything but the selections of features and the page size. */
  #resetDevice(): void {
    this.#transport.reset();
    this.#driverFeatures = [0, 0];
    this.#state.queueSel = 0;
  }
}
