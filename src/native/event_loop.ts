/**
 * The machine's event loop. vCPU exits, descriptors and timers arrive at one epoll set in the C
 * library (ffi/wait.c); handlers run on the isolate, one at a time.
 *
 *   busy:  something arrived -> look again with a short synchronous wait (a vCPU that does I/O comes
 *          back within microseconds, and this is the cheapest way to meet it)
 *   idle:  nothing arrived for BUSY_WAIT_US -> wait asynchronously; Deno's own loop runs
 *
 * A busy loop still lets Deno's loop run every YIELD_MS, and whenever a descriptor was ready, so
 * that promises and timers of monitors and migrations make progress. It does not sleep for that: vCPUs
 * that come meanwhile look for their answers (ffi/poll.h).
 *
 * What a handler throws ends whatever the handler works for, a client or the guest, and never the loop:
 * whoever registers a handler says what that is. A watch whose handler fails twice in a row rests for a
 * while, or a descriptor that stays ready would have it fail without end.
 */
import { reportFault } from "./faults.ts";
import { layouts } from "./layouts.ts";
import { native } from "./library.ts";
import { Errno, SystemError, unwrap } from "./errors.ts";
import type { Fd } from "./descriptor.ts";
import { NativeHandle } from "./handle.ts";
import { SpareDescriptor } from "./spare_descriptor.ts";
import { type FaultHandler, monotonicTime, type Timer, TimerQueue } from "./timer_queue.ts";

export { type FaultHandler, monotonicTime, type Timer } from "./timer_queue.ts";

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
/** How long, in ns, a watch rests whose handler keeps failing. */
const REST_NS = 1_000_000_000n;
/** Milliseconds before a wait that failed is tried again. */
const WAIT_AGAIN_MS = 10;

const { molt_wait_result: resultLayout, molt_wait_event: eventLayout } = layouts;

type Handler = (events: number) => void;

/** A descriptor that the loop watches. Disposing it ends that; the descriptor stays open. */
export interface Watch extends Disposable {
  /** Changes what is waited for: a combination of {@linkcode Events}. */
  update(events: number): void;
}

/** What the loop knows of a watch. */
interface Watched {
  readonly fd: Fd;
  readonly handler: Handler;
  readonly failed: FaultHandler;
  events: number;
  /** The handler's last call failed. */
  faulted: boolean;
  /** Set while the watch rests. */
  rest: Timer | undefined;
}

/** The loop. One a process is enough; it must outlive the vCPUs that ring its doorbell. */
export class EventLoop implements Disposable {
  /** Lets a client be refused when there is no descriptor left. */
  readonly spareDescriptor: SpareDescriptor;
  readonly #doorbell: NativeHandle;
  readonly #timers: TimerQueue;
  readonly #resources: DisposableStack;
  readonly #result = new Uint8Array(resultLayout.sizeof);
  readonly #resultView = new DataView(this.#result.buffer);
  readonly #watched = new Map<number, Watched>();
  /** Watches that have ended and could not be taken out of the epoll set. */
  readonly #leftovers = new Map<number, Fd>();
  #nextToken = 0;
  #stopped = false;
  #running = false;
  /** What waits for events. */
  #waiting = 0;
  /** It runs for what waits: nobody has called run. */
  #runsForWaiting = false;
  #waitFailed = false;
  #vcpuHandler: (vcpus: number) => void = () => {};

  constructor() {
    using undo = new DisposableStack();
    this.#doorbell = undo.use(
      new NativeHandle(
        "the event loop",
        unwrap(native.molt_doorbell_create(), "Could not create the event loop"),
        native.molt_doorbell_destroy,
      ),
    );
    this.#timers = undo.use(new TimerQueue());
    this.spareDescriptor = undo.use(new SpareDescriptor());
    this.watch(this.#timers.fd, Events.readable, () => this.#expireTimers(), reportFault);
    this.#resources = undo.move();
  }

  /** Handle of the C library's doorbell, for vCPU threads. */
  get doorbell(): bigint {
    return this.#doorbell.value;
  }

  /** Sets who is notified when vCPUs park or exit: bit i of `vcpus` is vCPU i. It must not throw. */
  onVcpus(handler: (vcpus: number) => void): void {
    this.#vcpuHandler = handler;
  }

  /** Calls `handler` whenever one of `events` holds for `fd`, and `failed` with what it throws. */
  watch(fd: Fd, events: number, handler: Handler, failed: FaultHandler): Watch {
    const token = this.#nextToken++;
    this.#control(EPOLL_CTL_ADD, fd, events, token);
    const watched: Watched = { fd, handler, failed, events, faulted: false, rest: undefined };
    this.#watched.set(token, watched);
    return {
      update: (changed) => {
        if (watched.rest === undefined) this.#control(EPOLL_CTL_MOD, fd, changed, token);
        watched.events = changed;
      },
      [Symbol.dispose]: () => this.#unwatch(token),
    };
  }

  /** A timer that calls `handler` once each time it was armed and expired, `failed` with what it throws. */
  timer(handler: () => void, failed: FaultHandler): Timer {
    return this.#timers.timer(handler, failed);
  }

  /** Serves events until {@linkcode stop}. Only one call at a time. What handlers throw does not end it. */
  async run(): Promise<void> {
    if (this.#running) throw new Error("the event loop runs already");
    this.#running = true;
    this.#stopped = false;
    try {
      while (!this.#stopped) {
        const idle = this.#serveWhileBusy();
        if (this.#stopped) break;
        // A wait that fails without end leaves no processor to anybody.
        if (this.#waitFailed) await new Promise((resolve) => setTimeout(resolve, WAIT_AGAIN_MS));
        // Only a wait that may take long is worth another thread.
        else if (!idle) await new Promise((resolve) => setImmediate(resolve));
        else await native.molt_wait_idle(this.doorbell, -1n);
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
    this.#resources[Symbol.dispose]();
  }

  /** True if it ended because nothing arrives any more. */
  #serveWhileBusy(): boolean {
    const until = performance.now() + YIELD_MS;
    do {
      const found = native.molt_wait(this.doorbell, BUSY_WAIT_US, this.#result);
      if (!this.#hasWaited(found)) return false;
      const vcpus = this.#dispatch(found);
      if (found > 0) return false;
      if (!vcpus) return true;
    } while (!this.#stopped && performance.now() < until);
    return false;
  }

  /** Whether a wait has succeeded. One that has not is reported, and there will be others. */
  #hasWaited(found: number): boolean {
    const failed = found < 0;
    if (failed && !this.#waitFailed) {
      reportFault(new SystemError("Could not wait for events", -found));
    }
    this.#waitFailed = failed;
    return !failed;
  }

  /** Calls the handlers for a wait's result; true if a vCPU was among them. */
  #dispatch(found: number): boolean {
    const vcpus = this.#resultView.getUint32(resultLayout.vcpus, true);
    if (found === 0) {
      // The answer to every exit of a busy guest comes by here: nothing is allocated for it.
      if (vcpus !== 0) this.#serveVcpus(vcpus);
      return vcpus !== 0;
    }
    // Handlers may wait again (serveVcpusUntil): take everything out of the shared result first.
    const ready: [token: number, events: number][] = [];
    for (let i = 0; i < found; i++) {
      const at = resultLayout.events + eventLayout.sizeof * i;
      ready.push([
        this.#resultView.getUint32(at + eventLayout.token, true),
        this.#resultView.getUint32(at + eventLayout.events, true),
      ]);
    }
    if (vcpus !== 0) this.#serveVcpus(vcpus);
    for (const [token, events] of ready) this.#serve(token, events);
    return vcpus !== 0;
  }

  /** It answers every exit of a busy guest: no closure is made for it. */
  #serveVcpus(vcpus: number): void {
    try {
      this.#vcpuHandler(vcpus);
    } catch (fault) {
      reportFault(fault);
    }
  }

  #serve(token: number, events: number): void {
    const watched = this.#watched.get(token);
    if (watched === undefined) return this.#removeLeftover(token);
    const failedBefore = watched.faulted;
    watched.faulted = !contain(() => watched.handler(events), watched.failed);
    if (watched.faulted && failedBefore && this.#watched.has(token)) this.#rest(token, watched);
  }

  #expireTimers(): void {
    this.#timers.expire(({ handler, failed }) => contain(handler, failed));
  }

  /** Waits for nothing at a descriptor whose handler keeps failing, and tries again later. */
  #rest(token: number, watched: Watched): void {
    if (watched.rest !== undefined) return;
    const goOn = () => {
      this.#control(EPOLL_CTL_ADD, watched.fd, watched.events, token);
      watched.rest = undefined;
    };
    const rest = this.timer(goOn, (fault) => {
      reportFault(fault);
      rest.arm(monotonicTime() + REST_NS);
    });
    native.molt_epoll_control(this.doorbell, EPOLL_CTL_DEL, watched.fd, 0, token);
    watched.rest = rest;
    rest.arm(monotonicTime() + REST_NS);
  }

  #unwatch(token: number): void {
    const watched = this.#watched.get(token);
    if (watched === undefined) return;
    this.#watched.delete(token);
    const { fd, rest } = watched;
    rest?.[Symbol.dispose]();
    if (rest !== undefined || this.#doorbell.disposed) return;
    if (!this.#remove(fd, token)) this.#leftovers.set(token, fd);
  }

  /** Something came for a watch that has ended. */
  #removeLeftover(token: number): void {
    const fd = this.#leftovers.get(token);
    if (fd !== undefined && this.#remove(fd, token)) this.#leftovers.delete(token);
  }

  /** False if a descriptor is still in the epoll set. */
  #remove(fd: Fd, token: number): boolean {
    const outcome = native.molt_epoll_control(this.doorbell, EPOLL_CTL_DEL, fd, 0, token);
    // One that was closed before has left the set.
    return outcome >= 0 || outcome === -Errno.ENOENT || outcome === -Errno.EBADF;
  }

  #control(operation: number, fd: Fd, events: number, token: number): void {
    unwrap(
      native.molt_epoll_control(this.doorbell, operation, fd, events >>> 0, token),
      () => `Could not watch descriptor ${fd}`,
    );
  }
}

/** Does `action`; what it throws goes to `failed`. True if it threw nothing. */
export function contain(action: () => void, failed: FaultHandler): boolean {
  try {
    action();
    return true;
  } catch (fault) {
    try {
      failed(fault);
    } catch (another) {
      reportFault(fault);
      reportFault(another);
    }
    return false;
  }
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
