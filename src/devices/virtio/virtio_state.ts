/**
 * Saved state of a virtio device, one field of the type `virtio` in QEMU's description. Its layout:
 * the transport's registers, the device's status, configuration space and queues, the device's own part,
 * subsections. What a transport has of its own is declared with it (mmio_state.ts, and for PCI its own).
 *
 * Ring addresses of a modern device are there three times: in the queues (descriptor table only), in
 * `rings`, and as the guest wrote them in the transport's `extra`. A legacy device has the first alone.
 */
import {
  bool,
  countedArray,
  countedBytes,
  type Field,
  type FieldRecord,
  type FieldsState,
  nested,
  opaque,
  padding,
  type StateOf,
  struct,
  type Structure,
  subsection,
  u16,
  u32,
  u64,
  u8,
  VmStateError,
  zeroPaddedArray,
} from "../../vmstate/vmstate.ts";

/** Queues that a device can have; the wire has slots for all of them. */
export const QUEUE_MAXIMUM = 1024;
/** Largest configuration space accepted, in bytes. */
const configMaximum = 65536;

/** What all transports save of a queue. */
export interface VirtioQueueState {
  /** Ring size. */
  num: number;
  /** Alignment of a legacy ring's parts, where the transport lets the driver choose it. */
  align?: number;
  /** Guest physical address of the descriptor table, 0 while the queue is not set up. */
  desc: bigint;
  /** Next available index that the device will look at. */
  lastAvailIdx: number;
}

/** Refuses a queue that has a position and no place. */
export function checkQueue(queue: Pick<VirtioQueueState, "desc" | "lastAvailIdx">): void {
  if (queue.desc === 0n && queue.lastAvailIdx !== 0) {
    throw new VmStateError(
      `address 0x0 inconsistent with Host index 0x${queue.lastAvailIdx.toString(16)}`,
    );
  }
}

/** Addresses of a modern queue's other two rings. */
const rings = struct({
  name: "virtqueue_state",
  version: 1,
  fields: { avail: u64({ name: "vring.avail" }), used: u64({ name: "vring.used" }) },
});

const packedQueue = struct({
  name: "packed_virtqueue_state",
  version: 1,
  fields: {
    lastAvailIdx: u16(),
    lastAvailWrapCounter: bool(),
    usedIdx: u16(),
    usedWrapCounter: bool(),
    inuse: u32(),
  },
});

/** The state of a device: what its transport adds comes before it, in each queue and in `extra`. */
function virtioBody<Queue extends VirtioQueueState, Own, Extra>(
  registers: FieldRecord,
  queue: Structure<Queue>,
  device: Field<Own>,
  extra: Field<Extra>,
) {
  return struct({
    name: "virtio",
    version: 1,
    fields: {
      ...registers,
      status: u8(),
      isr: u8(),
      queueSel: u16(),
      /** Accepted features, bits 31:0. */
      guestFeaturesLo: u32(),
      /** The configuration space as the guest last saw it. */
      config: countedBytes(1, configMaximum),
      /** Queues up to the last that exists. */
      queues: countedArray(nested(queue), QUEUE_MAXIMUM),
      device,
    },
    subsections: {
      deviceEndian: subsection({
        name: "virtio/device_endian",
        version: 1,
        key: "deviceEndian",
        field: u8(),
      }),
      /** Accepted features, bits 127:64; present if the device offers some of them. */
      guestFeaturesEx: subsection({
        name: "virtio/128bit_features",
        version: 1,
        field: u64({ name: "guest_features_ex[1]" }),
      }),
      /** Accepted features, bits 63:0; present if the device offers one above bit 31. */
      guestFeatures: subsection({
        name: "virtio/64bit_features",
        version: 1,
        key: "guestFeatures",
        field: u64(),
      }),
      /** Present if the device offers VIRTIO_F_VERSION_1. */
      rings: subsection({
        name: "virtio/virtqueues",
        version: 1,
        field: zeroPaddedArray(nested(rings), QUEUE_MAXIMUM, { name: "vq" }),
      }),
      /** Written by old versions of QEMU, with nothing in it that is used. */
      ringSizes: subsection({
        name: "virtio/ringsize",
        version: 1,
        fields: { vq: padding(4 * QUEUE_MAXIMUM) },
        needed: () => false,
      }),
      broken: subsection({
        name: "virtio/broken",
        version: 1,
        key: "broken",
        field: bool(),
        absent: false,
      }),
      /** What the transport saves of modern registers. */
      extra: subsection({ name: "virtio/extra_state", version: 1, field: extra }),
      started: subsection({
        name: "virtio/started",
        version: 1,
        key: "started",
        field: bool(),
        absent: false,
      }),
      /** Present if the device offers VIRTIO_F_RING_PACKED. */
      packed: subsection({
        name: "virtio/packed_virtqueues",
        version: 1,
        field: zeroPaddedArray(nested(packedQueue), QUEUE_MAXIMUM, { name: "vq" }),
      }),
      disabled: subsection({
        name: "virtio/disabled",
        version: 1,
        key: "disabled",
        field: bool(),
        absent: false,
      }),
    },
    postLoad(state) {
      if (state.queueSel >= QUEUE_MAXIMUM) {
        throw new VmStateError(`queue ${state.queueSel} is selected, of ${QUEUE_MAXIMUM}`);
      }
    },
  });
}

/** A device's part of its section. */
export interface VirtioSection<Own> {
  readonly name: string;
  readonly version: number;
  /** What it has beyond transport and queues. */
  readonly own: Field<Own>;
}

/** The state of a device's own part, as its section declares it. */
export type OwnStateOf<Section> = Section extends VirtioSection<infer Own> ? Own : never;

/** A transport's part of a device's section. */
export interface TransportLayout<
  Registers extends FieldRecord,
  Queue extends VirtioQueueState,
  Extra,
> {
  /** What is saved before the device's status. */
  readonly registers: Registers;
  readonly queue: Structure<Queue>;
  /** `virtio/extra_state`. */
  readonly extra: Field<Extra>;
}

/** What all transports save of a device. */
export type VirtioCommonState<Own, Queue = VirtioQueueState, Extra = unknown> =
  & Omit<StateOf<ReturnType<typeof virtioBody<VirtioQueueState, number, number>>>, Parts>
  & { queues: Queue[]; device: Own; extra?: Extra | undefined };
type Parts = "queues" | "device" | "extra";

/** The state of a device behind a transport. */
export type VirtioState<Own, Registers extends FieldRecord, Queue, Extra> =
  & FieldsState<Registers>
  & VirtioCommonState<Own, Queue, Extra>;

/** Declares the section of `device` behind a transport. */
export function virtioState<
  Own,
  Registers extends FieldRecord,
  Queue extends VirtioQueueState,
  Extra,
>(
  { name, version, own }: VirtioSection<Own>,
  { registers, queue, extra }: TransportLayout<Registers, Queue, Extra>,
): Structure<VirtioState<Own, Registers, Queue, Extra>> {
  const body = virtioBody(registers, queue, own, extra);
  // The registers' keys are known by their declaration only.
  type State = VirtioState<Own, Registers, Queue, Extra>;
  const field = opaque("virtio", body as unknown as Structure<State>, { name: "virtio" });
  return struct({ name, version, field });
}
