/**
 * What virtio-mmio saves of a device besides what all transports do. The section is called
 * `virtio-mmio@<address>/<device>`.
 */
import {
  array,
  bool,
  nested,
  struct,
  subsection,
  u16,
  u32,
  u64,
  zeroPaddedArray,
} from "../../vmstate/vmstate.ts";
import { checkQueue, QUEUE_MAXIMUM, type VirtioSection, virtioState } from "./virtio_state.ts";
import type { StateOf } from "../../vmstate/vmstate.ts";

const queue = struct({
  name: "queue",
  version: 1,
  fields: { num: u32(), align: u32(), desc: u64(), lastAvailIdx: u16() },
  postLoad: checkQueue,
});

/** A queue's registers as the guest wrote them: addresses as low and high word. */
const modernQueue = struct({
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

/** Registers of the modern transport, which alone has `extra`. */
const modern = struct({
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
        vqs: zeroPaddedArray(nested(modernQueue), QUEUE_MAXIMUM),
      },
    }),
  },
});

const layout = {
  registers: {
    hostFeaturesSel: u32(),
    guestFeaturesSel: u32(),
    /** log2 of a legacy guest's page size, 0 while it is not set. */
    guestPageShift: u32(),
  },
  queue,
  extra: nested(modern, { name: "extra_state" }),
} as const;

/** Declares the section of a device behind virtio-mmio. */
export function mmioState<Own>(section: VirtioSection<Own>) {
  return virtioState(section, layout);
}

/** Its state. */
export type MmioState<Own> = StateOf<ReturnType<typeof mmioState<Own>>>;
