/** Live updates: which monitor this is, and how long the guest stood still for it. */
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { empty, integer, struct } from "../types.ts";

export const updateCommands = [
  /** molt's own; the times are microseconds. */
  defineCommand({
    name: "x-query-update",
    arguments: empty,
    returns: struct({
      "generation": integer(),
      "pid": integer(),
      "version": z.string(),
      "parts": struct({
        stop: integer(),
        save: integer(),
        exec: integer(),
        start: integer(),
        build: integer(),
        load: integer(),
        resume: integer(),
      }).optional(),
    }),
    run: ({ update }) => update.query(),
  }),
];
