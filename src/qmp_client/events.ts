/** Events of a QMP server: what they carry, and the streams in which a client sees them. */
import * as z from "zod";
import { QmpDisconnectedError, QmpProtocolError } from "./errors.ts";

const nothing = z.looseObject({});
const shutdown = z.looseObject({ guest: z.boolean(), reason: z.string() });

/** The data of the events that the client knows by type. */
const eventData = {
  STOP: nothing,
  RESUME: nothing,
  POWERDOWN: nothing,
  RESET: shutdown,
  SHUTDOWN: shutdown,
  /** Only with the capability `events`. */
  MIGRATION: z.looseObject({ status: z.string() }),
  MIGRATION_PASS: z.looseObject({ pass: z.number() }),
} as const;

/** The name of an event that the client knows by type. */
export type KnownEventName = keyof typeof eventData;

type EventData<N extends string> = N extends KnownEventName ? z.output<typeof eventData[N]>
  : Readonly<Record<string, unknown>>;

/** An event. */
export type QmpEvent<N extends string = string> = N extends string ? {
    readonly name: N;
    readonly data: EventData<N>;
    /** Microseconds since 1970 by the server's clock. */
    readonly time: number;
  }
  : never;

/** Checks an event's data if its kind is known. */
export function readEvent(
  { event, data, timestamp }: {
    readonly event: string;
    readonly data: Record<string, unknown>;
    readonly timestamp: { readonly seconds: number; readonly microseconds: number };
  },
): QmpEvent {
  const known = isKnown(event) ? eventData[event].safeParse(data).data : data;
  if (known === undefined) throw new QmpProtocolError(`event ${event}: unexpected data`);
  return { name: event, data: known, time: timestamp.seconds * 1e6 + timestamp.microseconds };
}

function isKnown(name: string): name is KnownEventName {
  return Object.hasOwn(eventData, name);
}

/**
 * The events from the moment this was made, until it is disposed or the connection ends, for one
 * reader. Make it before the command whose events it is for:
 *
 *   using events = client.events("STOP");
 *   await client.execute("stop");
 *   const { time } = await events.take();
 */
export class QmpEvents<N extends string = string> implements AsyncIterable<QmpEvent<N>> {
  readonly #wanted: (event: QmpEvent) => event is QmpEvent<N>;
  readonly #ended: () => void;
  readonly #queue: QmpEvent<N>[] = [];
  #over = false;
  #wake: (() => void) | undefined;

  constructor(names: readonly N[], ended: () => void) {
    const set: ReadonlySet<string> = new Set(names);
    this.#wanted = (event): event is QmpEvent<N> => set.size === 0 || set.has(event.name);
    this.#ended = ended;
  }

  /** Takes an event in; the client calls it. */
  push(event: QmpEvent): void {
    if (this.#over || !this.#wanted(event)) return;
    this.#queue.push(event);
    this.#wake?.();
  }

  /** No more events come: those that are there can still be taken. */
  end(): void {
    this.#over = true;
    this.#wake?.();
  }

  /**
   * The next event, or the next that `matches`; those before it are dropped. Throws
   * QmpDisconnectedError when no more can come, or the signal's reason.
   */
  async take(
    { matches, signal }: {
      readonly matches?: (event: QmpEvent<N>) => boolean;
      readonly signal?: AbortSignal;
    } = {},
  ): Promise<QmpEvent<N>> {
    for (;;) {
      const event = await this.#next(signal);
      if (event === undefined) {
        throw new QmpDisconnectedError("the connection ended before the event came");
      }
      if (matches === undefined || matches(event)) return event;
    }
  }

  /** Takes all that have come. */
  takeAll(): QmpEvent<N>[] {
    return this.#queue.splice(0);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<QmpEvent<N>> {
    for (;;) {
      const event = await this.#next();
      if (event === undefined) return;
      yield event;
    }
  }

  [Symbol.dispose](): void {
    this.end();
    this.#ended();
  }

  async #next(signal?: AbortSignal): Promise<QmpEvent<N> | undefined> {
    for (;;) {
      signal?.throwIfAborted();
      const event = this.#queue.shift();
      if (event !== undefined || this.#over) return event;
      await new Promise<void>((resolve) => {
        const wake = () => {
          signal?.removeEventListener("abort", wake);
          this.#wake = undefined;
          resolve();
        };
        signal?.addEventListener("abort", wake);
        this.#wake = wake;
      });
    }
  }
}
