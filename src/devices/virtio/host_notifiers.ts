/**
 * Notifications by eventfd: KVM turns a driver's write to a queue's notify address into a signal, which wakes
 * the event loop or a thread of the C library without an exit to the isolate. Where those addresses are is
 * the transport's to say; the guest may move them.
 */
import type { Fd } from "../../native/descriptor.ts";
import { type EventLoop, Events, type FaultHandler, type Watch } from "../../native/event_loop.ts";
import { read } from "../../native/file.ts";
import type { Virtqueue } from "./queue.ts";

/** A write that notifies of a queue. */
export interface NotifyAddress {
  readonly address: number;
  /** Bytes of the write; 0: of any. */
  readonly size: 0 | 2 | 4;
  /** Only writes of this value count. Absent: all do. */
  readonly value?: number;
  /** An I/O port rather than memory. */
  readonly port?: boolean;
}

/** The addresses of a queue: none while the guest has not placed them. */
export type NotifyAddresses = (queue: Virtqueue) => readonly NotifyAddress[];

/** KVM's part: writes that become signals of an eventfd. */
export interface NotificationRouter {
  /** Such writes signal `fd`; `on` false ends that. */
  route(write: NotifyAddress, fd: Fd, on: boolean): void;
}

/** The notifiers of one device's queues. */
export class HostNotifiers {
  #addresses: NotifyAddresses;
  readonly #router: NotificationRouter | undefined;
  readonly #loop: EventLoop;
  readonly #failed: FaultHandler;
  /** What is routed of each queue that has a notifier. */
  readonly #routed = new Map<Virtqueue, readonly NotifyAddress[]>();
  readonly #watches = new Map<Virtqueue, Watch>();

  /**
   * Without `router`, notifications come as writes to registers, and nothing is routed. `failed` takes
   * what goes wrong when one is served.
   */
  constructor(
    addresses: NotifyAddresses,
    router: NotificationRouter | undefined,
    loop: EventLoop,
    failed: FaultHandler,
  ) {
    this.#addresses = addresses;
    this.#router = router;
    this.#loop = loop;
    this.#failed = failed;
  }

  /** The guest placed the addresses elsewhere, or nowhere. */
  move(addresses: NotifyAddresses): void {
    this.#addresses = addresses;
    const queues = [...this.#routed.keys()];
    for (const queue of queues) this.#unroute(queue);
    for (const queue of queues) this.#route(queue);
  }

  /**
   * Notifications of the queue come by its eventfd from now on, for `notified`; if that is absent,
   * somebody else waits for them.
   */
  assign(queue: Virtqueue, notified: (() => void) | undefined): void {
    if (this.#routed.has(queue)) return;
    this.#route(queue);
    if (notified === undefined) return;
    const count = new Uint8Array(8);
    const watch = this.#loop.watch(queue.kickFd, Events.readable, () => {
      read(queue.kickFd, count);
      if (queue.live) notified();
    }, this.#failed);
    this.#watches.set(queue, watch);
  }

  /** Ends that. */
  deassign(queue: Virtqueue): void {
    this.#watches.get(queue)?.[Symbol.dispose]();
    this.#watches.delete(queue);
    if (!this.#routed.has(queue)) return;
    this.#unroute(queue);
    this.#routed.delete(queue);
  }

  #route(queue: Virtqueue): void {
    const addresses = this.#router === undefined ? [] : this.#addresses(queue);
    this.#routed.set(queue, addresses);
    for (const address of addresses) this.#router?.route(address, queue.kickFd, true);
  }

  #unroute(queue: Virtqueue): void {
    for (const address of this.#routed.get(queue) ?? []) {
      this.#router?.route(address, queue.kickFd, false);
    }
    this.#routed.set(queue, []);
  }
}
