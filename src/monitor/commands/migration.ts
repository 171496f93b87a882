/** Moving the machine: migrate and what belongs to it (qapi/migration.json). */
import * as z from "zod";
import { MigrationError } from "../../migration/errors.ts";
import { postcopy } from "../../migration/postcopy.ts";
import { type Parameter, parameterDeclarations } from "../../migration/parameters.ts";
import { commandArguments as taken } from "../../qapi/arguments.ts";
import { capabilityState, socketAddress } from "../../qapi/migration.ts";
import { migrationStatuses } from "../../qapi/names.ts";
import { defineCommand } from "../command.ts";
import type { JsonValue } from "../../json/value.ts";
import { empty, integer, struct } from "../../qapi/types.ts";

/** A parameter's values. What is wrong with one that is given is the declaration's to say. */
function parameterType(name: string, { type }: Parameter<unknown>): z.ZodType<JsonValue> {
  const { schema } = type;
  if (typeof schema !== "string") return z.enum(schema);
  return z.custom<JsonValue>((value) => value !== undefined).superRefine((value, context) => {
    try {
      type.read(name, value);
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      context.addIssue({ code: "custom", params: { complaint: error.message } });
    }
  }).meta({ qapi: schema });
}

const parameters = struct(Object.fromEntries(
  [...parameterDeclarations].map(([name, parameter]) => [
    name,
    parameterType(name, parameter).optional(),
  ]),
));

const information = struct({
  "status": z.enum(migrationStatuses).optional(),
  "ram": struct({
    "transferred": integer(),
    "remaining": integer(),
    "total": integer(),
    "duplicate": integer(),
    "normal": integer(),
    "normal-bytes": integer(),
    "dirty-pages-rate": integer(),
    "mbps": z.number(),
    "dirty-sync-count": integer(),
    "postcopy-requests": integer(),
    "page-size": integer(),
    "multifd-bytes": integer(),
    "pages-per-second": integer(),
    "precopy-bytes": integer(),
    "downtime-bytes": integer(),
    "postcopy-bytes": integer(),
    "dirty-sync-missed-zero-copy": integer(),
  }).optional(),
  "remaining": integer().optional(),
  "total-time": integer().optional(),
  "expected-downtime": integer().optional(),
  "downtime": integer().optional(),
  "setup-time": integer().optional(),
  "cpu-throttle-percentage": integer().optional(),
  "error-desc": z.string().optional(),
  "blocked-reasons": z.array(z.string()).optional(),
  "socket-address": z.array(socketAddress).optional(),
  "x-waiting-for": z.string().optional(),
});

export const migrationCommands = [
  defineCommand({
    name: "migrate",
    arguments: taken.migrate,
    run: ({ migration }, request) => migration.start(request),
  }),
  defineCommand({
    name: "migrate-incoming",
    arguments: taken["migrate-incoming"],
    run: ({ migration }, { "exit-on-error": exitOnError, ...request }) =>
      migration.startIncoming(request, exitOnError),
  }),
  defineCommand({
    name: "migrate_cancel",
    arguments: empty,
    run: ({ migration }) => migration.cancel(),
  }),
  defineCommand({
    name: "migrate-continue",
    arguments: taken["migrate-continue"],
    run: ({ migration }, { state }) => migration.continueFrom(state),
  }),
  defineCommand({
    name: "migrate-set-capabilities",
    arguments: taken["migrate-set-capabilities"],
    run: ({ migration }, { capabilities }) => migration.setCapabilities(capabilities),
  }),
  defineCommand({
    name: "query-migrate-capabilities",
    arguments: empty,
    returns: z.array(capabilityState),
    run: ({ migration }) => migration.listCapabilities(),
  }),
  defineCommand({
    name: "migrate-set-parameters",
    arguments: parameters,
    run: ({ migration }, given) => migration.setParameters(given),
  }),
  defineCommand({
    name: "query-migrate-parameters",
    arguments: empty,
    returns: parameters,
    run: ({ migration }) => ({ ...migration.parameters }),
  }),
  defineCommand({
    name: "query-migrate",
    arguments: empty,
    returns: information,
    run: ({ migration }) => migration.query(),
  }),
  defineCommand({
    name: "migrate-start-postcopy",
    arguments: empty,
    run: postcopy.start,
  }),
  defineCommand({
    name: "migrate-pause",
    oob: true,
    arguments: empty,
    run: postcopy.pause,
  }),
  defineCommand({
    name: "migrate-recover",
    oob: true,
    arguments: struct({ uri: z.string() }),
    run: postcopy.recover,
  }),
];
