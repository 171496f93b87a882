/**
 * The commands that the client knows by type: what each takes and what it returns. Everything else
 * goes through QmpClient.executeUntyped. Results may have members that are not listed here.
 */
import * as z from "zod";
import { commandArguments as taken } from "../qapi/arguments.ts";
import { type RunStateName, runStates } from "../qapi/names.ts";
import { deviceCommands } from "./device_commands.ts";
import { migrationCommands } from "./migration_commands.ts";

const nothing = z.strictObject({});
const done = z.looseObject({});

/** What a machine is doing (qapi/run-state.json: RunState). */
export type RunState = RunStateName;

/** Commands by name. */
export const qmpCommands = {
  "qmp_capabilities": {
    arguments: taken.qmp_capabilities,
    returns: done,
  },
  "query-version": {
    arguments: nothing,
    returns: z.looseObject({
      qemu: z.object({ major: z.number(), minor: z.number(), micro: z.number() }),
      package: z.string(),
    }),
  },
  "query-commands": {
    arguments: nothing,
    returns: z.array(z.looseObject({ name: z.string() })),
  },
  "query-name": { arguments: nothing, returns: z.looseObject({ name: z.string().optional() }) },
  "query-uuid": { arguments: nothing, returns: z.looseObject({ UUID: z.string() }) },
  "query-status": {
    arguments: nothing,
    returns: z.looseObject({ status: z.enum(runStates), running: z.boolean() }),
  },
  "query-kvm": {
    arguments: nothing,
    returns: z.looseObject({ enabled: z.boolean(), present: z.boolean() }),
  },
  "query-cpus-fast": {
    arguments: nothing,
    // `thread-id` is the host's number of the vCPU's thread.
    returns: z.array(z.looseObject({ "cpu-index": z.number(), "thread-id": z.number() })),
  },
  "query-memdev": {
    arguments: nothing,
    returns: z.array(z.looseObject({
      id: z.string().optional(),
      size: z.number(),
      share: z.boolean(),
    })),
  },
  "query-chardev": {
    arguments: nothing,
    returns: z.array(z.looseObject({
      label: z.string(),
      filename: z.string(),
      "frontend-open": z.boolean(),
    })),
  },
  "qom-get": {
    arguments: taken["qom-get"],
    returns: z.unknown(),
  },
  "qom-list": {
    arguments: taken["qom-list"],
    returns: z.array(z.looseObject({ name: z.string(), type: z.string() })),
  },
  "human-monitor-command": {
    arguments: taken["human-monitor-command"],
    returns: z.string(),
  },
  "stop": { arguments: nothing, returns: done },
  "cont": { arguments: nothing, returns: done },
  "system_reset": { arguments: nothing, returns: done },
  "system_powerdown": { arguments: nothing, returns: done },
  "quit": { arguments: nothing, returns: done },
  /** molt's own: which program of how many it is, and how often and how long the guest was paused. */
  "x-query-update": {
    arguments: nothing,
    returns: z.looseObject({
      generation: z.number(),
      pid: z.number(),
      version: z.string(),
      // Each pause, in microseconds.
      pauses: z.array(z.number()).optional(),
      parts: z.record(z.string(), z.number()).optional(),
      // Which build of the version; how a successor is to be started, and in which folder.
      build: z.string().optional(),
      // The latest migration's phases; `start` is in microseconds since the epoch, `time` in microseconds.
      phases: z.array(z.looseObject({
        phase: z.string(),
        pid: z.number(),
        start: z.number(),
        time: z.number(),
        bytes: z.number(),
      })).optional(),
      launch: z.looseObject({ command: z.array(z.string()), directory: z.string() }).optional(),
    }),
  },
  /** molt's own: whether a program would take the guest over, and why not. */
  "x-check-update": {
    arguments: taken["x-check-update"],
    returns: z.looseObject({
      result: z.enum(["yes", "no", "unknown"]),
      program: z.string().optional(),
      reason: z.string().optional(),
    }),
  },
  /** molt's own: gives a listening socket or the pid file of the process another name. */
  "x-rename-file": {
    arguments: taken["x-rename-file"],
    returns: done,
  },
  ...deviceCommands,
  ...migrationCommands,
} as const;

/** The name of a command that the client knows by type. */
export type QmpCommandName = keyof typeof qmpCommands;
/** What a command takes. */
export type QmpArguments<N extends QmpCommandName> = z.input<typeof qmpCommands[N]["arguments"]>;
/** What a command returns. */
export type QmpResult<N extends QmpCommandName> = z.output<typeof qmpCommands[N]["returns"]>;
