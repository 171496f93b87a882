/** The machine's run state: QEMU's names and the changes it allows. */

import type { RunStateName } from "../qapi/names.ts";

/** Why the guest runs or does not. */
export type RunState = RunStateName;

const transitions: Readonly<Record<RunState, readonly RunState[]>> = {
  "colo": ["running", "prelaunch", "shutdown"],
  "debug": ["running", "finish-migrate", "prelaunch", "suspended"],
  "finish-migrate": [
    "running",
    "paused",
    "postmigrate",
    "prelaunch",
    "colo",
    "internal-error",
    "io-error",
    "shutdown",
    "suspended",
    "watchdog",
    "guest-panicked",
  ],
  "guest-panicked": ["running", "finish-migrate", "prelaunch"],
  "inmigrate": [
    "internal-error",
    "io-error",
    "paused",
    "running",
    "shutdown",
    "suspended",
    "watchdog",
    "guest-panicked",
    "finish-migrate",
    "prelaunch",
    "postmigrate",
    "colo",
  ],
  "internal-error": ["paused", "finish-migrate", "prelaunch"],
  "io-error": ["running", "finish-migrate", "prelaunch"],
  "paused": ["running", "finish-migrate", "postmigrate", "prelaunch", "colo", "suspended"],
  "postmigrate": ["running", "finish-migrate", "prelaunch"],
  "prelaunch": ["running", "finish-migrate", "inmigrate", "suspended"],
  "restore-vm": ["running", "prelaunch", "suspended"],
  "running": [
    "debug",
    "internal-error",
    "io-error",
    "paused",
    "finish-migrate",
    "restore-vm",
    "save-vm",
    "shutdown",
    "watchdog",
    "guest-panicked",
    "colo",
    "suspended",
  ],
  "save-vm": ["running", "suspended"],
  "shutdown": ["paused", "finish-migrate", "prelaunch", "colo"],
  "suspended": [
    "running",
    "finish-migrate",
    "prelaunch",
    "colo",
    "paused",
    "save-vm",
    "restore-vm",
    "shutdown",
  ],
  "watchdog": ["running", "finish-migrate", "prelaunch", "colo"],
};

/** True if QEMU allows the change. */
export function allowsTransition(from: RunState, to: RunState): boolean {
  return transitions[from].includes(to);
}

/** True if `name` is a run state. */
export function isRunState(name: string): name is RunState {
  return Object.hasOwn(transitions, name);
}
