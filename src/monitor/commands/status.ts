/** The machine's run state: look at it and change it. */
import * as z from "zod";
import { runStates } from "../../qapi/names.ts";
import { defineCommand } from "../command.ts";
import { empty, struct } from "../../qapi/types.ts";

/** qapi/run-state.json: WatchdogAction */
const watchdogAction = z.enum([
  "reset",
  "shutdown",
  "poweroff",
  "pause",
  "debug",
  "none",
  "inject-nmi",
]);

export const statusCommands = [
  defineCommand({
    name: "query-status",
    arguments: empty,
    returns: struct({ running: z.boolean(), status: z.enum(runStates) }),
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
    name: "set-action",
    arguments: struct({
      reboot: z.enum(["reset", "shutdown"]).optional(),
      shutdown: z.enum(["poweroff", "pause"]).optional(),
      panic: z.enum(["pause", "shutdown", "exit-failure", "none"]).optional(),
      watchdog: watchdogAction.optional(),
    }),
    // The board has neither a watchdog nor a way to report a panic.
    run: ({ machine }, { reboot, shutdown }) =>
      machine.setEndPolicy({
        ...(reboot === undefined ? {} : { noReboot: reboot === "shutdown" }),
        ...(shutdown === undefined ? {} : { noShutdown: shutdown === "pause" }),
      }),
  }),
  defineCommand({
    name: "watchdog-set-action",
    arguments: struct({ action: watchdogAction }),
    run: () => {},
  }),
  defineCommand({
    name: "quit",
    arguments: empty,
    run: ({ machine }) => machine.quit(),
  }),
];
