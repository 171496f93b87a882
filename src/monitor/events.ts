/**
 * QMP events: from whoever emits one to every session that listens. Events that could
 * flood clients are limited to one a second, the latest one of a second being emitted at its end.
 */
import type { ShutdownReason } from "../machine/machine_events.ts";
import type { PhaseRecord } from "../migration/phases.ts";
import {
  contain,
  type EventLoop,
  monotonicTime,
  realTime,
  type Timer,
} from "../native/event_loop.ts";
import { reportFault } from "../native/faults.ts";
import type { JsonObject } from "../json/value.ts";

/** What x-query-update returns. */
export interface UpdateQuery extends UpdateInformation {
  /** The latest migration's phases, of an update in all its processes. */
  readonly phases: PhaseRecord[];
  /** How a successor is to be started: program and arguments, and the folder for relative paths. */
  readonly launch: { readonly command: string[]; readonly directory: string };
}

/** Which monitor this is, and how long the guest was paused for it. */
export interface UpdateInformation {
  /** Live updates since the guest started. */
  "generation": number;
  "pid": number;
  "version": string;
  /** Which build of that version: a commit, or `source`. */
  "build": string;
  /** How long the guest was paused in the last update, each time, in microseconds. */
  "pauses"?: number[] | undefined;
  /** What the update was made of, in microseconds. */
  "parts"?: Record<string, number> | undefined;
}

interface EventDataByName {
  STOP: undefined;
  RESUME: undefined;
  POWERDOWN: undefined;
  SUSPEND: undefined;
  WAKEUP: undefined;
  SHUTDOWN: { guest: boolean; reason: ShutdownReason };
  RESET: { guest: boolean; reason: ShutdownReason };
  MIGRATION: { status: string };
  MIGRATION_PASS: { pass: number };
  VSERPORT_CHANGE: { id: string; open: boolean };
  BALLOON_CHANGE: { actual: number };
  RTC_CHANGE: { offset: number; "qom-path": string };
  NIC_RX_FILTER_CHANGED: { name?: string | undefined; path: string };
  DEVICE_DELETED: { device?: string | undefined; path: string };
  GUEST_PANICKED: { action: "pause" | "poweroff" | "run"; info?: JsonObject | undefined };
  BLOCK_IO_ERROR: {
    "qom-path": string;
    device: string;
    "node-name"?: string | undefined;
    operation: "read" | "write";
    action: "ignore" | "report" | "stop";
    nospace?: boolean | undefined;
    reason: string;
  };
  JOB_STATUS_CHANGE: { id: string; status: string };
  /** molt's own: another process or program serves this connection now, for the same guest. */
  "x-MONITOR_REPLACED": UpdateInformation;
}

/** The name of an event. */
export type EventName = keyof EventDataByName;

/** An event's data; `undefined` where there is none. */
export type EventData<Name extends EventName> = EventDataByName[Name];

/** An event as a subsystem emits it. */
export type QmpEvent = {
  [Name in EventName]: EventDataByName[Name] extends undefined ? { readonly name: Name }
    : { readonly name: Name; readonly data: EventDataByName[Name] };
}[EventName];

/** How many ms must pass between two events of a kind, and what distinguishes kinds of one name. */
const rateLimits: { readonly [Name in EventName]?: { ms: number; key?: string } } = {
  RTC_CHANGE: { ms: 1000 },
  BALLOON_CHANGE: { ms: 1000 },
  VSERPORT_CHANGE: { ms: 1000, key: "id" },
  BLOCK_IO_ERROR: { ms: 1000, key: "qom-path" },
};

/** An event as it goes over the wire. */
export type TimedEvent = JsonObject & { readonly event: EventName };

interface Throttle {
  readonly timer: Timer;
  /** What came while the limit lasted. */
  latest: TimedEvent | undefined;
}

function isTimedEvent(value: unknown): value is TimedEvent {
  return typeof value === "object" && value !== null && "timestamp" in value &&
    "event" in value && typeof value.event === "string";
}

function timed(event: QmpEvent): TimedEvent {
  const now = realTime() / 1000n;
  const timestamp = { seconds: Number(now / 1_000_000n), microseconds: Number(now % 1_000_000n) };
  const data: JsonObject | undefined = "data" in event ? { ...event.data } : undefined;
  return { timestamp, event: event.name, data };
}

/** Where events come in and go out. */
export class EventHub implements Disposable {
  readonly #loop: EventLoop;
  readonly #listeners = new Set<(event: TimedEvent) => void>();
  readonly #throttles = new Map<string, Throttle>();
  readonly #unreported: TimedEvent[] = [];
  #held = false;

  constructor(loop: EventLoop) {
    this.#loop = loop;
  }

  /** Notifies all sessions, now or when the event's rate limit allows. */
  emit(event: QmpEvent): void {
    const limit = rateLimits[event.name];
    if (limit === undefined) return this.#send(timed(event));
    const data: JsonObject = "data" in event ? { ...event.data } : {};
    const key = limit.key === undefined ? event.name : `${event.name} ${data[limit.key]}`;
    const throttle = this.#throttles.get(key);
    if (throttle !== undefined) {
      throttle.latest = timed(event);
      return;
    }
    this.#send(timed(event));
    const timer = this.#loop.timer(() => this.#endOfLimit(key, limit.ms), reportFault);
    this.#throttles.set(key, { timer, latest: undefined });
    timer.arm(monotonicTime() + BigInt(limit.ms) * 1_000_000n);
  }

  /** Emits now what limits still hold back. */
  flush(): void {
    for (const throttle of this.#throttles.values()) {
      const { latest } = throttle;
      throttle.latest = undefined;
      if (latest !== undefined) this.#send(latest);
    }
    this.#report();
  }

  /** Keeps events back until {@linkcode release}: those who are to hear them are not there yet. */
  hold(): void {
    this.#held = true;
  }

  /** Emits what was held back. */
  release(): void {
    this.#held = false;
    this.#report();
  }

  /** Events from now on, for {@linkcode replay} in another process. */
  record(): readonly TimedEvent[] {
    const events: TimedEvent[] = [];
    this.subscribe((event) => events.push(event));
    return events;
  }

  /** Emits what another process has recorded. What is no event is left out. */
  replay(events: readonly unknown[]): void {
    this.#unreported.unshift(...events.filter(isTimedEvent));
    this.#report();
  }

  /** Has `listener` called for every event, until the subscription is disposed. */
  subscribe(listener: (event: TimedEvent) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  [Symbol.dispose](): void {
    for (const { timer } of this.#throttles.values()) timer[Symbol.dispose]();
    this.#throttles.clear();
    this.#listeners.clear();
  }

  #endOfLimit(key: string, ms: number): void {
    const throttle = this.#throttles.get(key);
    if (throttle === undefined) return;
    const { latest, timer } = throttle;
    throttle.latest = undefined;
    if (latest === undefined) {
      timer[Symbol.dispose]();
      this.#throttles.delete(key);
      return;
    }
    timer.arm(monotonicTime() + BigInt(ms) * 1_000_000n);
    this.#send(latest);
  }

  /**
   * The time of an event is taken at once; clients are notified when what is under way has been done: a
   * guest that starts does not wait for its RESUME to be written.
   */
  #send(event: TimedEvent): void {
    if (this.#unreported.push(event) === 1) queueMicrotask(() => this.#report());
  }

  #report(): void {
    if (this.#held) return;
    for (const event of this.#unreported.splice(0)) {
      for (const listener of this.#listeners) contain(() => listener(event), reportFault);
    }
  }
}
