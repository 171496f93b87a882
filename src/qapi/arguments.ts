/**
 * What commands take, for those that both the monitor and the client (qmp_client) know by type. Results are
 * not shared: the monitor says exactly what it returns, the client only what it reads of the answer of any
 * server, which may be another version or QEMU.
 */
import * as z from "zod";
import { capabilityState, channel, yankInstance } from "./migration.ts";
import { migrationStatuses } from "./names.ts";
import { integer, struct } from "./types.ts";

/** By command. */
export const commandArguments = {
  "qmp_capabilities": struct({ enable: z.array(z.enum(["oob"])).optional() }),
  "human-monitor-command": struct({
    "command-line": z.string(),
    "cpu-index": integer().optional(),
  }),
  "qom-get": struct({ path: z.string(), property: z.string() }),
  "qom-list": struct({ path: z.string() }),
  "query-rx-filter": struct({ name: z.string().optional() }),
  "set_link": struct({ name: z.string(), up: z.boolean() }),
  "balloon": struct({ value: integer() }),
  "migrate": struct({
    // One of the two.
    uri: z.string().optional(),
    channels: z.array(channel).optional(),
    resume: z.boolean().optional(),
  }),
  "migrate-incoming": struct({
    "uri": z.string().optional(),
    "channels": z.array(channel).optional(),
    "exit-on-error": z.boolean().optional(),
  }),
  "migrate-continue": struct({ state: z.enum(migrationStatuses) }),
  "migrate-set-capabilities": struct({ capabilities: z.array(capabilityState) }),
  "yank": struct({ instances: z.array(yankInstance) }),
  /** molt's own: whether a program, with its arguments, would take the guest over. */
  "x-check-update": struct({ command: z.array(z.string()) }),
  /** molt's own: gives a listening socket or the pid file of the process another name. */
  "x-rename-file": struct({ from: z.string(), to: z.string() }),
} as const;
