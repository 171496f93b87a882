/** Migration's commands (QEMU's qapi/migration.json). */
import * as z from "zod";
import { commandArguments as taken } from "../qapi/arguments.ts";
import { type channel, yankInstance } from "../qapi/migration.ts";
import {
  type MigrationCapabilityName,
  migrationStatuses,
  type MigrationStatusName,
} from "../qapi/names.ts";

const nothing = z.strictObject({});
const done = z.looseObject({});

/** The name of a migration capability. */
export type MigrationCapability = MigrationCapabilityName;

/** The parameters that the client knows; a server has more. */
const parameters = z.object({
  "mode": z.enum(["normal", "cpr-reboot", "cpr-transfer", "cpr-exec"]),
  /** Program and arguments that mode cpr-exec executes. */
  "cpr-exec-command": z.array(z.string()),
  /** Bytes per second; 0: no limit. */
  "max-bandwidth": z.number(),
  /** Bytes per second assumed for the last pass; 0: as measured. */
  "avail-switchover-bandwidth": z.number(),
  /** Milliseconds. */
  "x-handover-timeout": z.number(),
  "x-successor-timeout": z.number(),
  /** Whether cpr-exec with a `uri` leaves the guest with an interim monitor. */
  "x-interim-monitor": z.enum(["auto", "on", "off"]),
  /** Milliseconds. */
  "downtime-limit": z.number(),
  "multifd-channels": z.number(),
  "multifd-compression": z.string(),
  "zero-page-detection": z.string(),
  "direct-io": z.boolean(),
  "cpu-throttle-initial": z.number(),
  "cpu-throttle-increment": z.number(),
  "max-cpu-throttle": z.number(),
}).partial();

/** Migration parameters, any number of them. */
export type MigrationParameters = z.input<typeof parameters>;

/** A channel of a migration: what goes through it, and where it leads. */
export type MigrationChannel = z.input<typeof channel>;

/** How far a migration is. */
export type MigrationStatus = MigrationStatusName;

const information = z.looseObject({
  /** Missing until the first migration. */
  "status": z.enum(migrationStatuses).optional(),
  "ram": z.looseObject({
    /** Bytes, as are `remaining` and `total`. */
    "transferred": z.number(),
    "remaining": z.number(),
    "total": z.number(),
    /** Pages sent. */
    "normal": z.number(),
    /** Zero pages. */
    "duplicate": z.number(),
    "dirty-sync-count": z.number(),
    "mbps": z.number(),
    "page-size": z.number(),
  }).optional(),
  /** Milliseconds, as are the other times. */
  "total-time": z.number().optional(),
  "setup-time": z.number().optional(),
  "expected-downtime": z.number().optional(),
  "downtime": z.number().optional(),
  "error-desc": z.string().optional(),
  "blocked-reasons": z.array(z.string()).optional(),
  "cpu-throttle-percentage": z.number().optional(),
  /** Where a destination listens. */
  "socket-address": z.array(z.looseObject({ type: z.string() })).optional(),
});

/** What `query-migrate` reports. */
export type MigrationInformation = z.output<typeof information>;

/** Commands by name. */
export const migrationCommands = {
  "migrate": { arguments: taken.migrate, returns: done },
  "migrate-incoming": { arguments: taken["migrate-incoming"], returns: done },
  "migrate_cancel": { arguments: nothing, returns: done },
  "yank": { arguments: taken.yank, returns: done },
  "query-yank": { arguments: nothing, returns: z.array(yankInstance) },
  "migrate-continue": { arguments: taken["migrate-continue"], returns: done },
  "migrate-set-parameters": { arguments: parameters.strict(), returns: done },
  "query-migrate-parameters": { arguments: nothing, returns: parameters.loose() },
  "migrate-set-capabilities": { arguments: taken["migrate-set-capabilities"], returns: done },
  "query-migrate-capabilities": {
    arguments: nothing,
    // Other versions have other capabilities.
    returns: z.array(z.object({ capability: z.string(), state: z.boolean() })),
  },
  "query-migrate": { arguments: nothing, returns: information },
} as const;
