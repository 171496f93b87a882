/** The machine's run state: look at it and change it. */
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { empty, struct } from "../types.ts";

/** qapi/run-state.json: RunState */
const runState = z.enum([
  "debug",
  "inmigrate",
  "internal-error",
  "io-error",
  "paused",
  "postmigrate",
  "prelaunch",
  "finish-migrate",
  "restore-vm",
  "running",
  "save-vm",
  "shutdown",
  "suspended",
  "watchdog",
  "guest-panicked",
  "colo",
]);

export const statusCommands = [
  defineCommand({
    name: "query-status",
    arguments: empty,
    returns: struct({ running: z.boolean(), status: runState }),
    run: ({ machine }) => machine.status(),
  }),
  defineCommand({
    name: "stop",
    arguments: empty,
    run: ({ machine }) => machine.stop(),
  }),
  defineCommand({
    name: "cont",
    arguments: empty,
    run: ({ machine }) => machine.cont(),
  }),
  defineCommand({
    name: "system_reset",
    arguments: empty,
    run: ({ machine }) => machine.reset(),
  }),
  defineCommand({
    name: "system_powerdown",
    arguments: empty,
    run: ({ machine }) => machine.powerDown(),
  }),
  defineCommand({
    name: "system_wakeup",
    arguments: empty,
    run: ({ machine }) => machine.wakeUp(),
  }),
  defineCommand({
    name: "inject-nmi",
    arguments: empty,
    run: ({ machine }) => machine.injectNmi(),
  }),
  defineCommand({
    name: "quit",
    arguments: empty,
    run: ({ machine }) => machine.quit(),
  }),
];
