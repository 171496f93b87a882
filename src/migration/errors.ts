/** Why a migration cannot be done or has failed. */

/** The message is for `error-desc` and the monitor's reply, QEMU's where it has one. */
export class MigrationError extends Error {
  override readonly name = "MigrationError";
}

/** Somebody asked for the migration to end. Not a failure. */
export class MigrationCancelled extends Error {
  override readonly name = "MigrationCancelled";
  constructor() {
    super("The migration was cancelled");
  }
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
