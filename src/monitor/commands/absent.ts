/** Questions about what the machine does not have: what QEMU answers for a board without it. */
import * as z from "zod";
import { defineCommand } from "../command.ts";
import { CommandError } from "../errors.ts";
import { anyValue, empty, integer, struct } from "../../qapi/types.ts";

/** Of each there are none. */
const emptyLists = [
  ...["query-acpi-ospm-status", "query-audiodevs", "query-block-jobs", "query-jobs"],
  ...["query-memory-devices", "query-mice", "query-pci", "query-pr-managers", "query-tpm"],
  ...["query-tpm-models", "query-tpm-types", "query-vcpu-dirty-limit", "query-vnc-servers"],
];

export const absentCommands = [
  ...emptyLists.map((name) =>
    defineCommand({ name, arguments: empty, returns: z.array(anyValue), run: () => [] })
  ),
  defineCommand({
    name: "query-vnc",
    arguments: empty,
    returns: struct({ enabled: z.boolean() }),
    run: () => ({ enabled: false }),
  }),
  defineCommand({
    name: "query-spice",
    arguments: empty,
    returns: struct({
      "enabled": z.boolean(),
      "migrated": z.boolean(),
      "mouse-mode": z.enum(["client", "server", "unknown"]),
    }),
    run: () => ({ "enabled": false, "migrated": false, "mouse-mode": "client" as const }),
  }),
  defineCommand({
    name: "query-display-options",
    arguments: empty,
    returns: struct({ type: z.enum(["none"]) }),
    run: () => ({ type: "none" as const }),
  }),
  defineCommand({
    name: "query-dump",
    arguments: empty,
    returns: struct({
      status: z.enum(["none", "active", "completed", "failed"]),
      completed: integer(),
      total: integer(),
    }),
    run: () => ({ status: "none" as const, completed: 0, total: 0 }),
  }),
  defineCommand({
    name: "query-replay",
    arguments: empty,
    returns: struct({ mode: z.enum(["none", "record", "play"]), icount: integer() }),
    run: () => ({ mode: "none" as const, icount: 0 }),
  }),
  defineCommand({
    name: "query-colo-status",
    arguments: empty,
    returns: struct({
      "mode": z.enum(["none", "primary", "secondary"]),
      "last-mode": z.enum(["none", "primary", "secondary"]),
      "reason": z.enum(["none", "request", "error", "processing"]),
    }),
    run: () => ({ "mode": "none", "last-mode": "none", "reason": "none" } as const),
  }),
  defineCommand({
    name: "query-vm-generation-id",
    arguments: empty,
    returns: struct({ guid: z.string() }),
    run: () => {
      throw new CommandError("VM Generation ID device not found");
    },
  }),
  defineCommand({ name: "rtc-reset-reinjection", arguments: empty, run: () => {} }),
];
