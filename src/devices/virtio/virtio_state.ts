/**
 * Saved state of a virtio device behind virtio-mmio: section `virtio-mmio@<address>/<device>`, one field
 * of the type `virtio` in QEMU's description. Its layout: transport registers, configuration space,
 * queues, the device's own part, subsections.
 *
 * Ring addresses of a modern device are there three times: in the queues (descriptor table only), in
 * `rings`, and as the guest wrote them in `mmio`. A legacy device has the first alone.
 */
import {
  array,
  bool,
  countedArray,
  countedBytes,
  type Field,
  nested,
  opaque,
  padding,
  type StateOf,
  struct,
  subsection,
  u16,
  u32,
  u64,
  u8,
  VmStateError,
  zeroPaddedArray,
} from "../../vmstate/vmstate.ts";

/** Queues that a device can have; the wire has slots for all of them. */
const queueMaximum = 1024;
/** Largest configuration space accepted, in bytes. */
const configMaximum = 65536;

const queue = struct({
  name: "queue",
  version: 1,
  fields: {
    /** Ring size. */
    num: u32(),
    /** Alignment of a legacy ring's parts. */
    align: u32(),
    /** Guest physical address of the descriptor table, 0 while the queue is not set up. */
    desc: u64(),
    /** Next available index that the device will look at. */
    lastAvailIdx: u16(),
  },
  postLoad(queue) {
    if (queue.desc === 0n && queue.lastAvailIdx !== 0) {
      throw new VmStateError(
        `address 0x0 inconsistent with Host index 0x${queue.lastAvailIdx.toString(16)}`,
      );
    }
  },
});

/** State of one queue. */
export type VirtioQueueState = StateOf<typeof queue>;

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

/** A queue's registers as the guest wrote them: addresses as low and high word. */
const mmioQueue = struct({
  name: "virtio_mmio/queue_state",
  version: 1,
  fields: {
    num: u16(),
    enabled: bool(),
    desc: array(u32(), 2),
    avail: array(u32(), 2),
    used: array(u32(), 2),
  },
});

const mmio = struct({
  name: "virtio_mmio",
  version: 1,
  fields: {},
  subsections: {
    state: subsection({
      name: "virtio_mmio/state",
      version: 1,
      fields: {
        /** As the guest wrote them: low and high word. */
        guestFeatures: array(u32(), 2),
        vqs: zeroPaddedArray(nested(mmioQueue), queueMaximum),
      },
    }),
  },
});

/** State of a virtio device whose own part is `device`. */
function virtioBody<Device>(device: Field<Device>) {
  return struct({
    name: "virtio",
    version: 1,
    fields: {
      hostFeaturesSel: u32(),
      guestFeaturesSel: u32(),
      /** log2 of a legacy guest's page size, 0 while it is not set. */
      guestPageShift: u32(),
      status: u8(),
      isr: u8(),
      queueSel: u16(),
      /** Accepted features, bits 31:0. */
      guestFeaturesLo: u32(),
      /** The configuration space as the guest last saw it. */
      config: countedBytes(1, configMaximum),
      /** Queues up to the last that exists. */
      queues: countedArray(nested(queue), queueMaximum),
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
        field: zeroPaddedArray(nested(rings), queueMaximum, { name: "vq" }),
      }),
      /** Written by old versions of QEMU, with nothing in it that is used. */
      ringSizes: subsection({
        name: "virtio/ringsize",
        version: 1,
        fields: { vq: padding(4 * queueMaximum) },
        needed: () => false,
      }),
      broken: subsection({
        name: "virtio/broken",
        version: 1,
        key: "broken",
        field: bool(),
        absent: false,
      }),
      /** Present with the modern transport. */
      mmio: subsection({
        name: "virtio/extra_state",
        version: 1,
        field: nested(mmio, { name: "extra_state" }),
      }),
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
        field: zeroPaddedArray(nested(packedQueue), queueMaximum, { name: "vq" }),
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
      if (state.queueSel >= queueMaximum) {
        throw new VmStateError(`queue ${state.queueSel} is selected, of ${queueMaximum}`);
      }
    },
  });
}

/** Declares the section of a virtio device. `device` is what it has beyond transport and queues. */
export function virtioState<Device>(name: string, version: number, device: Field<Device>) {
  return struct({ name, version, field: opaque("virtio", virtioBody(device), { name: "virtio" }) });
}

/** State that all virtio devices have. */
export type VirtioState<Device> = StateOf<ReturnType<typeof virtioState<Device>>>;
