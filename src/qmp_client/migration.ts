/** Following a migration to its end. */
import type { QmpClient } from "./client.ts";
import { QmpError } from "./errors.ts";
import type { MigrationInformation } from "./migration_commands.ts";

/** A migration that did not complete. */
export class MigrationFailedError extends QmpError {
  override readonly name = "MigrationFailedError";

  constructor(readonly status: "failed" | "cancelled", reason: string | undefined) {
    super(
      `the migration ${status === "failed" ? "failed" : "was cancelled"}: ${
        reason ?? "no reason given"
      }`,
    );
  }
}

/** How to follow a migration. */
export interface FollowOptions {
  /** Ends the following, not the migration; its reason is thrown. */
  readonly signal?: AbortSignal;
  /** Milliseconds between two looks. */
  readonly interval?: number;
}

/**
 * Yields what query-migrate reports until the migration has completed, for either side. Throws
 * MigrationFailedError when it has failed or was cancelled, and QmpDisconnectedError when the process
 * has gone: after cpr-exec that is as it should be.
 */
export async function* followMigration(
  client: QmpClient,
  { signal, interval = 50 }: FollowOptions = {},
): AsyncGenerator<MigrationInformation> {
  const options = signal === undefined ? {} : { signal };
  for (;;) {
    const information = await client.execute("query-migrate", {}, options);
    yield information;
    const { status } = information;
    if (status === "completed") return;
    if (status === "failed" || status === "cancelled") {
      throw new MigrationFailedError(status, information["error-desc"]);
    }
    await new Promise((resolve) => setTimeout(resolve, interval));
  }
}

/** Waits for a migration's end: see followMigration. */
export async function awaitMigration(
  client: QmpClient,
  options: FollowOptions = {},
): Promise<MigrationInformation> {
  let last: MigrationInformation = {};
  for await (const information of followMigration(client, options)) last = information;
  return last;
}
