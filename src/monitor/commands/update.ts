/** Live updates: which monitor this is, and how long the guest stood still for it. */
import { defineCommand } from "../command.ts";
import { updateInformation } from "../event_schemas.ts";
import { empty } from "../types.ts";

export const updateCommands = [
  /** molt's own; the times are microseconds. */
  defineCommand({
    name: "x-query-update",
    arguments: empty,
    returns: updateInformation,
    run: ({ update }) => update.query(),
  }),
];
