/** Live updates: which monitor this is, how long the guest was paused for it, how it is started. */
import { commandArguments as taken } from "../../qapi/arguments.ts";
import { defineCommand } from "../command.ts";
import { updateCheck, updateQuery } from "../event_schemas.ts";
import { empty } from "../../qapi/types.ts";

export const updateCommands = [
  /** molt's own; the times are microseconds. */
  defineCommand({
    name: "x-query-update",
    arguments: empty,
    returns: updateQuery,
    run: ({ update }) => update.query(),
  }),
  /** molt's own: the program is started beside, and runs nothing (migration/cpr/preflight/protocol.ts). */
  defineCommand({
    name: "x-check-update",
    arguments: taken["x-check-update"],
    returns: updateCheck,
    run: async ({ update }, { command }) => await update.check(command),
  }),
  /** molt's own: a successor's socket or pid file gets the name that its predecessor's had. */
  defineCommand({
    name: "x-rename-file",
    arguments: taken["x-rename-file"],
    run: ({ update }, { from, to }) => update.rename(from, to),
  }),
];
