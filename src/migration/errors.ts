/** Why a migration cannot be done or has failed. */
import { errnoMessage } from "../native/errors.ts";
import { StreamError } from "./stream/errors.ts";

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

/**
 * The destination may have started the guest, and nothing more can be learned from it. Neither side may
 * run it by itself: an operator decides, who can look at the destination.
 */
export class OwnerUnknownError extends Error {
  override readonly name = "OwnerUnknownError";

  /** `what` has happened, and how the wait for the destination ended. */
  constructor(what: string, cause: unknown) {
    super(
      `${what} (${
        messageOf(cause)
      }): it may run there; let it go on here, with 'cont', only if it ` +
        "does not",
      { cause },
    );
  }
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Why a machine could not be loaded, as `error-desc` and the last line of a destination say it. */
export function loadFailure(error: unknown): string {
  const kind = error instanceof StreamError ? `${errnoMessage(error.errno)}: ` : "";
  return `load of migration failed: ${kind}${messageOf(error)}`;
}
