/**
 * A migration's status: QEMU's names and the changes that happen.
 *
 *   none, completed, failed, cancelled -> setup            migrate
 *   setup -> active                                        the channel is open
 *   active -> pre-switchover -> device                     with pause-before-switchover
 *   active -> device                                       the guest has stopped for good
 *   device -> completed                                    the stream is complete (and acknowledged)
 *   any of these -> failing -> failed                      an error
 *   any of these -> cancelling -> cancelled                migrate_cancel
 *   completed -> failed                                    cpr-exec: execve failed
 *
 * Incoming: none -> setup -> active -> completed or failed; failed -> setup when it is tried again.
 */
import { migrationStatuses, type MigrationStatusName } from "../qapi/names.ts";

/** The statuses that migrations here go through. */
export type MigrationStatus = Extract<
  MigrationStatusName,
  | "none"
  | "setup"
  | "cancelling"
  | "cancelled"
  | "active"
  | "pre-switchover"
  | "device"
  | "completed"
  | "failing"
  | "failed"
>;

/** True while a migration is under way. */
export function isUnderWay(status: MigrationStatus): boolean {
  switch (status) {
    case "setup":
    case "cancelling":
    case "active":
    case "pre-switchover":
    case "device":
    case "failing":
      return true;
    case "none":
    case "cancelled":
    case "completed":
    case "failed":
      return false;
  }
}

/** True for the name of a status. */
export function isMigrationStatus(name: string): name is MigrationStatusName {
  return migrationStatuses.some((status) => status === name);
}
