/** Moving the machine: migrate and its parameters. */
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { empty, struct } from "../types.ts";

const mode = z.enum(["normal", "cpr-reboot", "cpr-transfer", "cpr-exec"]);

export const migrationCommands = [
  defineCommand({
    name: "migrate",
    arguments: struct({ uri: z.string().optional() }),
    run: ({ migration }, { uri }) => migration.migrate(uri),
  }),
  defineCommand({
    name: "migrate_cancel",
    arguments: empty,
    run: ({ migration }) => migration.cancel(),
  }),
  defineCommand({
    name: "migrate-set-parameters",
    arguments: struct({
      "mode": mode.optional(),
      "cpr-exec-command": z.array(z.string()).optional(),
    }),
    run: ({ migration }, parameters) => migration.setParameters(parameters),
  }),
  defineCommand({
    name: "query-migrate",
    arguments: empty,
    returns: struct({
      "status": z.string().optional(),
      "error-desc": z.string().optional(),
      "blocked-reasons": z.array(z.string()).optional(),
    }),
    run: ({ migration }) => migration.query(),
  }),
];
