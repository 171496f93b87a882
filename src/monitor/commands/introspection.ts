/** What commands and events there are. */
import * as z from "zod";
import { defineCommand } from "../command.ts";
import { describeSchema } from "../qmp/schema.ts";
import { anyValue, empty, struct } from "../../qapi/types.ts";

export const introspectionCommands = [
  defineCommand({
    name: "query-commands",
    arguments: empty,
    returns: z.array(struct({ name: z.string() })),
    run: (_context, _given, { commands }) => Array.from(commands.keys(), (name) => ({ name })),
  }),
  defineCommand({
    name: "query-qmp-schema",
    arguments: empty,
    returns: z.array(anyValue),
    run: (_context, _given, { commands }) => describeSchema(commands),
  }),
];
