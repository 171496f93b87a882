/** Migration's commands (QEMU's qapi/migration.json). */
import { z } from "zod";

const nothing = z.strictObject({});
const done = z.looseObject({});

/** All capabilities, in QEMU 11.1's order. */
const capability = z.enum([
  "xbzrle",
  "rdma-pin-all",
  "auto-converge",
  "events",
  "postcopy-ram",
  "x-colo",
  "release-ram",
  "return-path",
  "pause-before-switchover",
  "multifd",
  "dirty-bitmaps",
  "postcopy-blocktime",
  "late-block-activate",
  "x-ignore-shared",
  "validate-uuid",
  "background-snapshot",
  "zero-copy-send",
  "postcopy-preempt",
  "switchover-ack",
  "dirty-limit",
  "mapped-ram",
]);

/** The name of a migration capability. */
export type MigrationCapability = z.infer<typeof capability>;

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

const address = z.union([
  z.object({
    transport: z.literal("socket"),
    type: z.literal("inet"),
    host: z.string(),
    port: z.string(),
  }),
  z.object({ transport: z.literal("socket"), type: z.literal("unix"), path: z.string() }),
  z.object({ transport: z.literal("socket"), type: z.literal("fd"), str: z.string() }),
  z.object({ transport: z.literal("exec"), args: z.array(z.string()) }),
  z.object({ transport: z.literal("file"), filename: z.string(), offset: z.number() }),
]);

const channel = z.object({ "channel-type": z.enum(["main", "cpr"]), addr: address });

/** A channel of a migration: what goes through it, and where it leads. */
export type MigrationChannel = z.input<typeof channel>;

const status = z.enum([
  "none",
  "setup",
  "cancelling",
  "cancelled",
  "active",
  "postcopy-device",
  "postcopy-active",
  "postcopy-paused",
  "postcopy-recover-setup",
  "postcopy-recover",
  "completed",
  "failing",
  "failed",
  "colo",
  "pre-switchover",
  "device",
  "wait-unplug",
]);

/** What has connections that can be cut. */
const yankInstance = z.discriminatedUnion("type", [
  z.object({ type: z.literal("block-node"), "node-name": z.string() }),
  z.object({ type: z.literal("chardev"), id: z.string() }),
  z.object({ type: z.literal("migration") }),
]);

/** How far a migration is. */
export type MigrationStatus = z.infer<typeof status>;

const information = z.looseObject({
  /** Missing until the first migration. */
  "status": status.optional(),
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
  "migrate": {
    // One of the two.
    arguments: z.strictObject({
      uri: z.string().optional(),
      channels: z.array(channel).optional(),
    }),
    returns: done,
  },
  "migrate-incoming": {
    arguments: z.strictObject({
      uri: z.string().optional(),
      channels: z.array(channel).optional(),
      "exit-on-error": z.boolean().optional(),
    }),
    returns: done,
  },
  "migrate_cancel": { arguments: nothing, returns: done },
  "yank": {
    arguments: z.strictObject({ instances: z.array(yankInstance) }),
    returns: done,
  },
  "query-yank": { arguments: nothing, returns: z.array(yankInstance) },
  "migrate-continue": { arguments: z.strictObject({ state: status }), returns: done },
  "migrate-set-parameters": { arguments: parameters.strict(), returns: done },
  "query-migrate-parameters": { arguments: nothing, returns: parameters.loose() },
  "migrate-set-capabilities": {
    arguments: z.strictObject({
      capabilities: z.array(z.object({ capability, state: z.boolean() })),
    }),
    returns: done,
  },
  "query-migrate-capabilities": {
    arguments: nothing,
    // Other versions have other capabilities.
    returns: z.array(z.object({ capability: z.string(), state: z.boolean() })),
  },
  "query-migrate": { arguments: nothing, returns: information },
} as const;
