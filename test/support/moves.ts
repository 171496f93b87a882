/** Moving a guest from one process to another, by every way there is. */
import { assertEquals } from "@std/assert";
import {
  awaitMigration,
  type MigrationCapability,
  type MigrationParameters,
  QmpClient,
} from "../../src/qmp_client/mod.ts";
import { patience } from "./patience.ts";
import type { TemporaryDirectory } from "./temporary_directory.ts";
import type { VirtualMachine } from "./virtual_machine.ts";

/** A way to move a guest. */
export interface Route {
  readonly name: string;
  readonly capabilities?: readonly MigrationCapability[];
  readonly parameters?: MigrationParameters;
  /** Whether the state is complete in a file before anybody reads it. */
  readonly stored: boolean;
  readonly uri: (directory: TemporaryDirectory) => string;
}

const file = (directory: TemporaryDirectory) => `file:${directory.file("state")}`;
const unix = (directory: TemporaryDirectory) => `unix:${directory.file("migration.sock")}`;
const tcp = () => "tcp:127.0.0.1:0";

/** All ways on which molt and QEMU have to agree. */
export const routes: readonly Route[] = [
  { name: "file", stored: true, uri: file },
  { name: "unix", stored: false, uri: unix },
  { name: "tcp", stored: false, uri: tcp },
  { name: "multifd tcp", capabilities: ["multifd"], stored: false, uri: tcp },
  { name: "mapped-ram", capabilities: ["mapped-ram"], stored: true, uri: file },
  {
    name: "mapped-ram, multifd, direct-io",
    capabilities: ["mapped-ram", "multifd"],
    parameters: { "direct-io": true },
    stored: true,
    uri: file,
  },
];

/** Prepares either side for a route. */
export async function configure(client: QmpClient, route: Route): Promise<void> {
  const { capabilities = [], parameters } = route;
  if (capabilities.length > 0) {
    await client.execute("migrate-set-capabilities", {
      capabilities: capabilities.map((capability) => ({ capability, state: true })),
    });
  }
  if (parameters) await client.execute("migrate-set-parameters", parameters);
}

/**
 * Moves the guest of `source` to `target`, which was started with `-incoming defer`. It runs there
 * when this returns, and the source has stopped for good.
 */
export async function move(
  source: VirtualMachine,
  target: VirtualMachine,
  route: Route,
  directory: TemporaryDirectory,
  signal: AbortSignal = patience(),
): Promise<void> {
  try {
    await configure(source.qmp, route);
    await configure(target.qmp, route);
    const uri = route.uri(directory);
    if (route.stored) {
      await source.qmp.execute("migrate", { uri });
      await awaitMigration(source.qmp, { signal });
      await target.qmp.execute("migrate-incoming", { uri });
    } else {
      await target.qmp.execute("migrate-incoming", { uri });
      await source.qmp.execute("migrate", { uri: await boundUri(target.qmp, uri) });
      await awaitMigration(source.qmp, { signal });
    }
    await awaitMigration(target.qmp, { signal });
    assertEquals((await source.qmp.execute("query-status")).status, "postmigrate");
    assertEquals((await target.qmp.execute("query-status")).status, "running");
  } catch (cause) {
    const sides = `${source.describe()}\n${target.describe()}`;
    throw new Error(`cannot move the guest by ${route.name}:\n${sides}`, { cause });
  }
}

/** The address at which a destination listens: with port 0 it has chosen a port. */
async function boundUri(target: QmpClient, uri: string): Promise<string> {
  if (!uri.endsWith(":0")) return uri;
  const { "socket-address": [address] = [] } = await target.execute("query-migrate");
  return uri.replace(/:0$/, `:${address?.["port"]}`);
}
