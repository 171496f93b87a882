/** Postcopy, which molt does not do: what its commands say, as QEMU where it is not in use. */
import { MigrationError } from "./errors.ts";

/** What each of postcopy's commands does. */
export const postcopy = {
  start(): never {
    throw new MigrationError(
      "Enable postcopy with migrate_set_capability before the start of migration",
    );
  },
  pause(): never {
    throw new MigrationError(
      "migrate-pause is currently only supported during postcopy-active or postcopy-recover state",
    );
  },
  recover(): never {
    throw new MigrationError("Migrate recover can only be run when postcopy is paused.");
  },
} as const;
