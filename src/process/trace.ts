/**
 * Trace events, as `-trace` and `-d trace:PATTERN` turn them on and off. An event is a line on standard
 * error, or in -D's file, in the form of QEMU's backend `log`: with `-msg timestamp=on` after the process
 * id and the time.
 */
import { asFd, Descriptor } from "../native/descriptor.ts";
import { openFile, OpenFlags, write } from "../native/file.ts";
import { processId } from "../native/process.ts";

/** The events that there are, and what they say. */
export const traceEvents = {
  "migration_phase": "a phase of a migration has ended: its name, time and bytes",
} as const;

/** The name of an event. */
export type TraceEvent = keyof typeof traceEvents;

const enabled = new Set<TraceEvent>();
let timestamp = false;
let file: string | undefined;

/** The events that match `pattern`: a name, perhaps with `*` and `?`. */
export function matchingEvents(pattern: string): TraceEvent[] {
  const source = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")
    .replaceAll("?", ".");
  const expression = new RegExp(`^${source}$`);
  const names = Object.keys(traceEvents).filter((name) => expression.test(name));
  return names.filter((name): name is TraceEvent => Object.hasOwn(traceEvents, name));
}

/** Turns the events that match `pattern` on, or off. */
export function setTrace(pattern: string, on: boolean): void {
  for (const name of matchingEvents(pattern)) {
    if (on) enabled.add(name);
    else enabled.delete(name);
  }
}

/** Turns events on and off by `patterns` in their order: those that begin with `-` turn off. */
export function setTraces(patterns: readonly string[]): void {
  for (const pattern of patterns) {
    if (pattern.startsWith("-")) setTrace(pattern.slice(1), false);
    else setTrace(pattern, true);
  }
}

/** Where lines go, and whether they have the time. */
export function setUpTrace(options: { timestamp: boolean; file: string | undefined }): void {
  ({ timestamp, file } = options);
}

/** Whether `event` is on. */
export function traces(event: TraceEvent): boolean {
  return enabled.has(event);
}

/** Writes a line for `event`, if it is on. `time`: when it happened, in microseconds since the epoch. */
export function traceEvent(event: TraceEvent, text: string, time: number): void {
  if (!traces(event)) return;
  const seconds = Math.floor(time / 1e6);
  const microseconds = String(Math.floor(time % 1e6)).padStart(6, "0");
  const place = timestamp ? `${processId()}@${seconds}.${microseconds}:` : "";
  const bytes = new Uint8Array(new TextEncoder().encode(`${place}${event} ${text}\n`));
  try {
    if (file === undefined) {
      write(asFd(2), bytes);
      return;
    }
    using log: Descriptor = openFile(file, OpenFlags.writeOnly | OpenFlags.append);
    write(log.fd, bytes);
  } catch {
    // What is traced must not suffer from a log that cannot be written.
  }
}
