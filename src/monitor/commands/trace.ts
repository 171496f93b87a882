/** Trace events: which are on, and turning them on and off. */
import * as z from "zod";
import { matchingEvents, setTrace, traces } from "../../process/trace.ts";
import { defineCommand } from "../command.ts";
import { CommandError } from "../errors.ts";
import { struct } from "../../qapi/types.ts";

/** The events that `pattern` matches. Throws, as QEMU, for a name that is none. */
function eventsOf(pattern: string) {
  const events = matchingEvents(pattern);
  if (events.length === 0 && !/[*?]/.test(pattern)) {
    throw new CommandError(`unknown event "${pattern}"`);
  }
  return events;
}

export const traceCommands = [
  defineCommand({
    name: "trace-event-get-state",
    arguments: struct({ name: z.string() }),
    returns: z.array(struct({ name: z.string(), state: z.enum(["disabled", "enabled"]) })),
    run: (_context, { name }) =>
      eventsOf(name).map((event) => ({
        name: event,
        state: traces(event) ? "enabled" as const : "disabled" as const,
      })),
  }),
  defineCommand({
    name: "trace-event-set-state",
    arguments: struct({
      "name": z.string(),
      "enable": z.boolean(),
      "ignore-unavailable": z.boolean().optional(),
    }),
    run: (_context, { name, enable }) => {
      for (const event of eventsOf(name)) setTrace(event, enable);
    },
  }),
];
