/** The threads that move a virtio-net device's frames (ffi/virtio_net.c). */
import { layouts, limits } from "./layouts.ts";
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import { NativeHandle } from "./handle.ts";
import type { Fd } from "./descriptor.ts";
import { monotonicTime } from "./event_loop.ts";
import { encodeQueues, type ServedQueue } from "./virtqueue.ts";

/** The host's side of a pair of queues: a descriptor that stays its owner's, non-blocking. */
export type NetworkPort =
  | { readonly kind: "none" }
  /** Frames with a virtio header of the driver's size. */
  | { readonly kind: "tap"; readonly fd: Fd }
  /** Frames without one. */
  | { readonly kind: "plain tap"; readonly fd: Fd }
  /** Frames behind their length. */
  | { readonly kind: "stream"; readonly fd: Fd }
  /** A frame in each datagram, to `peer` (struct sockaddr) or whom the socket is connected to. */
  | { readonly kind: "datagram"; readonly fd: Fd; readonly peer?: Uint8Array<ArrayBuffer> };

const portKinds = ["none", "tap", "stream", "datagram", "plain tap"] as const;

/** Bytes of a MAC address. */
export const ADDRESS_LENGTH = 6;
/** Addresses that the filter's table has room for. */
export const FILTER_ENTRIES = limits.MOLT_NET_FILTER_ENTRIES;
/** Bytes of a bitmap of all VLANs: bit v % 8 of byte v / 8. */
export const VLAN_BYTES = 512;

/** Which frames the driver wants. */
export interface FrameFilter {
  address: Uint8Array;
  promiscuous: boolean;
  allMulticast: boolean;
  allUnicast: boolean;
  noMulticast: boolean;
  noUnicast: boolean;
  noBroadcast: boolean;
  /** At most {@linkcode FILTER_ENTRIES} together. */
  unicast: readonly Uint8Array[];
  multicast: readonly Uint8Array[];
  vlans: Uint8Array;
}

const layout = layouts.molt_net_filter;

function encodeFilter(filter: FrameFilter): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(layout.sizeof);
  const view = new DataView(bytes.buffer);
  const flags = [
    filter.promiscuous,
    filter.allMulticast,
    filter.allUnicast,
    filter.noMulticast,
    filter.noUnicast,
    filter.noBroadcast,
  ];
  bytes.set(filter.address.subarray(0, ADDRESS_LENGTH), layout.address);
  bytes.set(flags.map(Number), layout.promiscuous);
  const entries = [...filter.unicast, ...filter.multicast].slice(0, FILTER_ENTRIES);
  view.setUint32(layout.unicast, Math.min(filter.unicast.length, FILTER_ENTRIES), true);
  view.setUint32(layout.entries, entries.length, true);
  entries.forEach((entry, i) => bytes.set(entry, layout.table + ADDRESS_LENGTH * i));
  bytes.set(filter.vlans, layout.vlans);
  return bytes;
}

/** ns that all peers together have for frames under way while a machine is being stopped. */
const FRAME_TIME = 1_000_000_000n;

let deadline: bigint | undefined;

/**
 * Until when peers may finish frames: one time for all queues that are stopped in one go, so that neither
 * many peers nor one that goes on slowly keep a machine from stopping.
 */
function frameDeadline(): bigint {
  if (deadline === undefined) {
    deadline = monotonicTime() + FRAME_TIME;
    queueMicrotask(() => deadline = undefined);
  }
  return deadline;
}

const noPeer = new Uint8Array(0);

/** The pairs of queues at work: queue 2n receives, queue 2n + 1 transmits. */
export class NativeNetwork implements Disposable {
  readonly #handle: NativeHandle;

  /**
   * `queues` in pairs, their notifications arrive at `kick`. Faults and lost connections are reported by
   * the eventfd `attention`.
   */
  constructor(
    queues: readonly ServedQueue[],
    attention: Fd,
  ) {
    const { rings, kicks } = encodeQueues(queues);
    this.#handle = new NativeHandle(
      "a network device",
      unwrap(
        native.molt_net_create(
          rings,
          kicks,
          queues.length / 2,
          attention,
        ),
        "Could not create a network device",
      ),
      native.molt_net_destroy,
    );
  }

  /** Connects a pair to the host, instead of what it was connected to. */
  connect(pair: number, port: NetworkPort): void {
    const peer = port.kind === "datagram" ? port.peer ?? noPeer : noPeer;
    const fd = port.kind === "none" ? -1 : port.fd;
    const kind = portKinds.indexOf(port.kind);
    native.molt_net_connect(this.#handle.value, pair, kind, fd, peer, peer.length);
  }

  /** Whether the peer of a pair's stream has disconnected. */
  lost(pair: number): boolean {
    return native.molt_net_lost(this.#handle.value, pair) !== 0;
  }

  /** Sends a frame of the card's own, without a virtio header. False: the host's side has no room. */
  send(frame: Uint8Array<ArrayBuffer>): boolean {
    return native.molt_net_send(this.#handle.value, frame, frame.length) === 0;
  }

  /** Bytes of the driver's header, and whether a frame may use several buffers. All is stopped. */
  negotiate(headerSize: number, merged: boolean): void {
    native.molt_net_negotiate(this.#handle.value, headerSize, merged ? 1 : 0);
  }

  set filter(filter: FrameFilter) {
    native.molt_net_set_filter(this.#handle.value, encodeFilter(filter));
  }

  /** Without a link, frames are lost. */
  set link(up: boolean) {
    native.molt_net_set_link(this.#handle.value, up ? 1 : 0);
  }

  /** Serves a queue whose rings were found. */
  start(queue: number): void {
    native.molt_net_start(this.#handle.value, queue);
  }

  /**
   * Returns when no frame of the queue is under way. A stream's other side that has sent or taken a part of
   * one only is waited for, but not beyond {@linkcode frameDeadline}: it is disconnected then.
   */
  stop(queue: number): void {
    native.molt_net_stop(this.#handle.value, queue, frameDeadline());
  }

  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}
