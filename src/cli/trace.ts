/** -trace and -d trace: the patterns of events, and what QEMU says of those that match nothing. */
import { matchingEvents, traceEvents } from "../process/trace.ts";

/** What QEMU says of a pattern that names an event that is not there. */
export function traceWarnings(pattern: string): readonly string[] {
  const name = pattern.replace(/^-/, "");
  if (name === "" || /[*?]/.test(name) || matchingEvents(name).length > 0) return [];
  return [`warning: trace event '${name}' does not exist`];
}

/** The patterns of a file that has one on each line, and comments. */
export function readTracePatterns(text: string): readonly string[] {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "" && !line.startsWith("#"));
}

/** The text of `-trace help`. */
export function traceHelp(): string {
  return Object.keys(traceEvents).join("\n");
}
