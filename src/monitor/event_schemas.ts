/** The data of events as zod schemas, for query-qmp-schema. The types beside them are events.ts's. */
import * as z from "zod";
import { shutdownReasons } from "../machine/machine_events.ts";
import type { EventData, EventName } from "./events.ts";
import { anyValue, empty, integer, struct } from "../qapi/types.ts";

const shutdown = struct({
  guest: z.boolean(),
  reason: z.enum(shutdownReasons),
});

const microseconds = integer();

const updateMembers = {
  "generation": integer(),
  "pid": integer(),
  "version": z.string(),
  "build": z.string(),
  "pauses": z.array(microseconds).optional(),
  "parts": z.record(z.string(), microseconds).optional(),
};

const updateInformation = struct(updateMembers);

/** The result of x-query-update: what the event x-MONITOR_REPLACED has, and how to start a successor. */
export const updateQuery = struct({
  ...updateMembers,
  "phases": z.array(struct({
    "phase": z.string(),
    "pid": integer(),
    // Microseconds since the epoch, and microseconds.
    "start": integer(),
    "time": integer(),
    "bytes": integer(),
  })),
  "launch": struct({ "command": z.array(z.string()), "directory": z.string() }),
});

/** The result of x-check-update. */
export const updateCheck = struct({
  "result": z.enum(["yes", "no", "unknown"]),
  "program": z.string().optional(),
  "reason": z.string().optional(),
});

/** Each event's data; an empty object for those that have none. */
export const eventSchemas = {
  STOP: empty,
  RESUME: empty,
  POWERDOWN: empty,
  SUSPEND: empty,
  WAKEUP: empty,
  SHUTDOWN: shutdown,
  RESET: shutdown,
  MIGRATION: struct({ status: z.string() }),
  MIGRATION_PASS: struct({ pass: integer() }),
  VSERPORT_CHANGE: struct({ id: z.string(), open: z.boolean() }),
  BALLOON_CHANGE: struct({ actual: integer() }),
  RTC_CHANGE: struct({ offset: integer(), "qom-path": z.string() }),
  NIC_RX_FILTER_CHANGED: struct({ name: z.string().optional(), path: z.string() }),
  DEVICE_DELETED: struct({ device: z.string().optional(), path: z.string() }),
  GUEST_PANICKED: struct({
    action: z.enum(["pause", "poweroff", "run"]),
    info: z.record(z.string(), anyValue).optional(),
  }),
  BLOCK_IO_ERROR: struct({
    "qom-path": z.string(),
    device: z.string(),
    "node-name": z.string().optional(),
    operation: z.enum(["read", "write"]),
    action: z.enum(["ignore", "report", "stop"]),
    nospace: z.boolean().optional(),
    reason: z.string(),
  }),
  JOB_STATUS_CHANGE: struct({ id: z.string(), status: z.string() }),
  "x-MONITOR_REPLACED": updateInformation,
} as const satisfies {
  readonly [Name in EventName]: z.ZodType<
    EventData<Name> extends undefined ? object : EventData<Name>
  >;
};
