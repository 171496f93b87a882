/**
 * The machine's event loop. vCPU exits, descriptors and timers arrive at one epoll set in the C
 * library (ffi/wait.c); handlers run on the isolate, one at a time.
 *
 *   busy:  something arrived -> look again with a short synchronous wait (a vCPU that does I/O comes
 *          back within microseconds, and this is the cheapest way to meet it)
 *   idle:  nothing arrived for BUSY_WAIT_US -> wait asynchronously; Deno's own loop runs
 *
 * A busy loop still lets Deno's loop run every YIELD_MS, and whenever a descriptor was ready, so
 * that promises and timers of monitors and migrations make progress.
 */
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import { Descriptor, type Fd } from "./descriptor.ts";

/** epoll event bits (eventpoll.h). Watching is level-triggered; error and hangUp always come. */
export const Events = {
  readable: 0x001,
  writable: 0x004,
  error: 0x008,
  hangUp: 0x010,
  peerHangUp: 0x2000,
} as const;

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

const BUSY_WAIT_US = 50n;
const YIELD_MS = 1;

/** struct molt_wait_result in ffi/wait.h. */
const RESULT_SIZE = 516;
const RESULT_EVENTS_OFFSET = 4;

type Handler = (events: number) => void;

/** A descriptor that the loop watches. Disposing it ends that; the descriptor stays open. */
export interface Watch extends Disposable {
  /** Changes what is waited for: a combination of {@linkcode Events}. */
  update(events: number): void;
}

/** A one-shot timer on CLOCK_MONOTONIC. */
export interface Timer extends Disposable {
  /** Fires at `expiry`, in ns of CLOCK_MONOTONIC (at once if that is past). */
  arm(expiry: bigint): void;
  disarm(): void;
}

/** The loop. One a process is enough; it must outlive the vCPUs that ring its doorbell. */
export class EventLoop implements Disposable {
  /** Handle of the C library's doorbell, for vCPU threads. */
  readonly doorbell: bigint;
  readonly #result = new Uint8Array(RESULT_SIZE);
  readonly #resultView = new DataView(this.#result.buffer);
  readonly #handlers = new Map<number, Handler>();
  #nextToken = 0;
  #stopped = false;
  #running = false;
  /** What waits for events. */
  #waiting = 0;
  /** It runs for what waits: nobody has called run. */
  #runsForWaiting = false;
  #vcpuHandler: (vcpus: number) => void = () => {};

  constructor() {
    this.doorbell = BigInt(
      unwrap(native.molt_doorbell_create(), "Could not create the event loop"),
    );
  }

  /** Sets who is told when vCPUs park or exit: bit i of `vcpus` is vCPU i. */
  onVcpus(handler: (vcpus: number) => void): void {
    this.#vcpuHandler = handler;
  }

  /** Calls `handler` whenever one of `events` holds for `fd`. */
  watch(fd: Fd, events: number, handler: Handler): Watch {
    const token = this.#nextToken++;
    this.#control(EPOLL_CTL_ADD, fd, events, token);
    this.#handlers.set(token, handler);
    return {
      update: (changed) => this.#control(EPOLL_CTL_MOD, fd, changed, token),
      [Symbol.dispose]: () => {
        if (this.#handlers.delete(token)) this.#control(EPOLL_CTL_DEL, fd, 0, token);
      },
    };
  }

  /** A timer that calls `handler` once each time it was armed and expired. */
  timer(handler: () => void): Timer {
    const descriptor = new Descriptor(unwrap(native.molt_timerfd(), "Could not create a timer"));
    const expirations = new Uint8Array(8);
    const watch = this.watch(descriptor.fd, Events.readable, () => {
      const read = native.molt_read(descriptor.fd, expirations, 8n);
      if (read === 8n) handler();
    });
    const set = (expiry: bigint) => {
      unwrap(native.molt_timerfd_set(descriptor.fd, expiry), "Could not set a timer");
    };
    return {
      arm: (expiry) => set(expiry > 0n ? expiry : 1n),
      disarm: () => set(0n),
      [Symbol.dispose]: () => {
        watch[Symbol.dispose]();
        descriptor[Symbol.dispose]();
      },
    };
  }

  /** Serves events until {@linkcode stop}. Only one call at a time. */
  async run(): Promise<void> {
    if (this.#running) throw new Error("the event loop runs already");
    this.#running = true;
    this.#stopped = false;
    try {
      while (!this.#stopped) {
        const idle = this.#serveWhileBusy();
        if (this.#stopped) break;
        await native.molt_wait_idle(this.doorbell, idle ? -1n : 0n);
      }
    } finally {
      this.#running = false;
    }
  }

  /**
   * Something waits for an event until the result is disposed: events are served at least until then,
   * also where nobody has called {@linkcode run}, as in tests and subcommands.
   */
  keepServing(): Disposable {
    this.#waiting++;
    if (!this.#running && !this.#runsForWaiting) void this.#runForWaiting();
    let waits = true;
    return {
      [Symbol.dispose]: () => {
        if (waits) this.#waiting--;
        waits = false;
        if (this.#waiting === 0 && this.#runsForWaiting) this.stop();
      },
    };
  }

  async #runForWaiting(): Promise<void> {
    this.#runsForWaiting = true;
    try {
      while (this.#waiting > 0) await this.run();
    } finally {
      this.#runsForWaiting = false;
    }
  }

  /** Ends {@linkcode run} after the events at hand. */
  stop(): void {
    this.#stopped = true;
    this.wake();
  }

  /** Makes a waiting loop look again. */
  wake(): void {
    native.molt_doorbell_wake(this.doorbell);
  }

  /**
   * Serves vCPUs only, without leaving the isolate, until `condition` holds: for the moment in which
   * they are being parked. Descriptors stay ready until the loop looks at them again.
   */
  serveVcpusUntil(condition: () => boolean): void {
    while (!condition()) this.#vcpuHandler(native.molt_wait_vcpus(this.doorbell));
  }

  [Symbol.dispose](): void {
    native.molt_doorbell_destroy(this.doorbell);
  }

  /** True if it ended because nothing arrives any more. */
  #serveWhileBusy(): boolean {
    const until = performance.now() + YIELD_MS;
    do {
      const found = native.molt_wait(this.doorbell, BUSY_WAIT_US, this.#result);
      const vcpus = this.#dispatch(found);
      if (found > 0) return false;
      if (!vcpus) return true;
    } while (!this.#stopped && performance.now() < until);
    return false;
  }

  /** Calls the handlers for a wait's result; true if a vCPU was among them. */
  #dispatch(found: number): boolean {
    unwrap(found, "Could not wait for events");
    const vcpus = this.#resultView.getUint32(0, true);
    // Handlers may wait again (serveVcpusUntil): take everything out of the shared result first.
    const ready: [token: number, events: number][] = [];
    for (let i = 0; i < found; i++) {
      const at = RESULT_EVENTS_OFFSET + 8 * i;
      ready.push([
        this.#resultView.getUint32(at + 4, true),
        this.#resultView.getUint32(at, true),
      ]);
    }
    if (vcpus !== 0) this.#vcpuHandler(vcpus);
    for (const [token, events] of ready) this.#handlers.get(token)?.(events);
    return vcpus !== 0;
  }

  #control(operation: number, fd: Fd, events: number, token: number): void {
    unwrap(
      native.molt_epoll_control(this.doorbell, operation, fd, events >>> 0, token),
      () => `Could not watch descriptor ${fd}`,
    );
  }
}

/** CLOCK_MONOTONIC in ns. */
export function monotonicTime(): bigint {
  return native.molt_clock(1);
}

/** CLOCK_REALTIME in ns since 1970. */
export function realTime(): bigint {
  return native.molt_clock(0);
}

let loop: EventLoop | undefined;

/** The process's event loop: waits for descriptors and calls on threads end there. It is never disposed. */
export function processLoop(): EventLoop {
  return loop ??= new EventLoop();
}
