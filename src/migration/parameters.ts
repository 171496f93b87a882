/** Migration parameters: QEMU's names, types, defaults and ranges (qapi/migration.json). */

/** What is migrated and how. */
export type MigrationMode = "normal" | "cpr-reboot" | "cpr-transfer" | "cpr-exec";

/** The parameters that decide what a migration does. */
export interface MigrationParameters {
  "mode": MigrationMode;
  /** What cpr-exec executes: program and arguments. */
  "cpr-exec-command": readonly string[];
}

/** The values before anybody sets some. */
export function defaultParameters(): MigrationParameters {
  return { "mode": "normal", "cpr-exec-command": [] };
}
