/**
 * QEMU's names that more than one part of the program speaks of, in QEMU's order: what monitors describe and
 * check, what machine and migration go through, what clients know.
 */

/** qapi/migration.json: MigrationStatus. */
export const migrationStatuses = [
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
] as const;

/** The name of a migration's status. */
export type MigrationStatusName = typeof migrationStatuses[number];

/** qapi/migration.json: MigrationCapability. */
export const migrationCapabilities = [
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
] as const;

/** The name of a migration capability. */
export type MigrationCapabilityName = typeof migrationCapabilities[number];

/** qapi/run-state.json: RunState. */
export const runStates = [
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
] as const;

/** What a machine is doing: why the guest runs or does not. */
export type RunStateName = typeof runStates[number];
