/**
 * Notifications by eventfd: KVM turns a driver's write to QueueNotify into a signal, which wakes the
 * event loop or a thread of the C library without an exit to the isolate.
 */
import type { Fd } from "../../native/descriptor.ts";
import { type EventLoop, Events, type FaultHandler, type Watch } from "../../native/event_loop.ts";
import { read } from "../../native/file.ts";
import type { Virtqueue } from "./queue.ts";

/** KVM's part: writes to QueueNotify that become signals of an eventfd. */
export interface NotificationRouter {
  /** Writes of `value` to the 32-bit register at `address` signal `fd`; `on` false ends that. */
  route(address: number, value: number, fd: Fd, on: boolean): void;
}

/** The notifiers of one device's queues. */
export class HostNotifiers {
  /** Of the register QueueNotify. */
  readonly #address: number;
  readonly #router: NotificationRouter | undefined;
  readonly #loop: EventLoop;
  readonly #failed: FaultHandler;
  readonly #routed = new Set<Virtqueue>();
  readonly #watches = new Map<Virtqueue, Watch>();

  /**
   * Without `router`, notifications come as writes to the register, and nothing is routed. `failed` takes
   * what goes wrong when one is served.
   */
  constructor(
    address: number,
    router: NotificationRouter | undefined,
    loop: EventLoop,
    failed: FaultHandler,
  ) {
    this.#address = address;
    this.#router = router;
    this.#loop = loop;
    this.#failed = failed;
  }

  /**
   * Notifications of the queue come by its eventfd from now on, for `notified`; if that is absent,
   * somebody else waits for them.
   */
  assign(queue: Virtqueue, notified: (() => void) | undefined): void {
    if (this.#routed.has(queue)) return;
    this.#routed.add(queue);
    this.#router?.route(this.#address, queue.index, queue.kickFd, true);
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
    if (!this.#routed.delete(queue)) return;
    this.#router?.route(this.#address, queue.index, queue.kickFd, false);
  }
}
