/** Saved state of virtio-blk: requests kept after an I/O error that stopped the machine. */
import { list, nested, struct, u32 } from "../../vmstate/vmstate.ts";
import { QueueElementField } from "./queue_element_state.ts";
import type { OwnStateOf } from "./virtio_state.ts";

/** What of a device's configuration changes how its state looks. */
export interface VirtioBlkLayout {
  /** The device has several queues (`num-queues`): requests say which one they came from. */
  readonly multiqueue: boolean;
  /** The device offers VIRTIO_F_RING_PACKED. */
  readonly packed: boolean;
}

/** Queues that a device can have, so many requests in each. */
const requestMaximum = 1024 * 1024;

/** Declares the section for a device. */
export function virtioBlkState({ multiqueue, packed }: VirtioBlkLayout) {
  const element = new QueueElementField(packed);
  const request = multiqueue
    ? struct({ name: "request", version: 1, fields: { queue: u32(), element } })
    : struct({ name: "request", version: 1, fields: { element } });
  return {
    name: "virtio-blk",
    version: 2,
    own: list(nested<VirtioBlkRequest>(request), requestMaximum),
  };
}

/** A request in the device's hands. */
export interface VirtioBlkRequest {
  /** Queue it came from; not known of a device with a single queue. */
  queue?: number;
  element: ReturnType<QueueElementField["read"]>;
}

/** The device's own part of a saved state. */
export type VirtioBlkState = OwnStateOf<ReturnType<typeof virtioBlkState>>;
