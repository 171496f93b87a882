/**
 * A typed client of QMP, QEMU's machine protocol, for programs that drive molt or QEMU. Of molt it needs
 * only the protocol's names and types (src/qapi).
 */
export { formatQmpAddress, parseQmpAddress, type QmpAddress } from "./address.ts";
export {
  QmpClient,
  type QmpConnection,
  type QmpConnectOptions,
  type QmpExecuteOptions,
} from "./client.ts";
export {
  type QmpArguments,
  type QmpCommandName,
  qmpCommands,
  type QmpResult,
  type RunState,
} from "./commands.ts";
export * from "./errors.ts";
export { type KnownEventName, type QmpEvent, QmpEvents } from "./events.ts";
export type { QmpGreeting } from "./messages.ts";
export type {
  MigrationCapability,
  MigrationChannel,
  MigrationInformation,
  MigrationParameters,
  MigrationStatus,
} from "./migration_commands.ts";
export {
  awaitMigration,
  followMigration,
  type FollowOptions,
  MigrationFailedError,
} from "./migration.ts";
