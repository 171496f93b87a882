/** Ways to replace the process under a running guest. */
import {
  awaitMigration,
  type MigrationCapability,
  type MigrationChannel,
  type MigrationParameters,
  type QmpClient,
  QmpDisconnectedError,
} from "../../../src/qmp_client/mod.ts";
import type { VirtualMachine } from "../../support/virtual_machine.ts";
import type { Guest, RamPlace, Resources } from "./guest.ts";

/** A way. When `run` returns, the guest runs in `guest.process`, and no other process is left. */
export interface Update {
  readonly name: string;
  readonly run: (guest: Guest, signal: AbortSignal) => Promise<void>;
}

/** What both sides of a migration are told. */
interface Settings {
  readonly capabilities?: readonly MigrationCapability[];
  readonly parameters?: MigrationParameters;
}

const POLL_MILLISECONDS = 100;
const SHARED_FILE = "/dev/shm/guest-ram";

async function configure(
  { qmp }: VirtualMachine,
  { capabilities = [], parameters }: Settings,
): Promise<void> {
  if (capabilities.length > 0) {
    await qmp.execute("migrate-set-capabilities", {
      capabilities: capabilities.map((capability) => ({ capability, state: true })),
    });
  }
  if (parameters) await qmp.execute("migrate-set-parameters", parameters);
}

/** Waits until the guest runs. */
async function awaitRunning(qmp: QmpClient, signal: AbortSignal): Promise<void> {
  for (;;) {
    const { status } = await qmp.execute("query-status", {}, { signal });
    if (status === "running") return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
  }
}

/** Runs `action` for a successor; ends the successor if that fails. */
async function handOver(
  guest: Guest,
  resources: Resources,
  incoming: readonly string[],
  action: (successor: VirtualMachine) => Promise<void>,
): Promise<void> {
  const successor = await guest.start({ ...resources, incoming });
  try {
    await action(successor);
  } catch (cause) {
    await successor[Symbol.asyncDispose]();
    throw new Error(`the guest did not arrive in ${successor.describe()}`, { cause });
  }
  guest.adopt(successor, resources);
  await guest.endOthers();
  await guest.console.attach(guest.consolePath);
}

const cprExec: Update = {
  name: "cpr-exec",
  async run(guest, signal) {
    const { process } = guest;
    await configure(process, {
      parameters: { mode: "cpr-exec", "cpr-exec-command": [...process.command] },
    });
    const before = process.qmp;
    await before.execute("migrate", {});
    try {
      await awaitMigration(before, { signal, interval: POLL_MILLISECONDS });
    } catch (error) {
      // The connection ends with the old program.
      if (!(error instanceof QmpDisconnectedError)) throw error;
    }
    await process.connect();
    await awaitRunning(process.qmp, signal);
    await guest.console.attach(guest.consolePath);
  },
};

const cprTransfer: Update = {
  name: "cpr-transfer",
  async run(guest, signal) {
    const channels = (["main", "cpr"] as const).map((type): MigrationChannel => ({
      "channel-type": type,
      "addr": { transport: "socket", type: "unix", path: guest.directory.file(type) },
    }));
    const incoming = channels.map((channel) => JSON.stringify(channel));
    await handOver(guest, guest.resources, incoming, async (successor) => {
      const { qmp } = guest.process;
      await configure(guest.process, { parameters: { mode: "cpr-transfer" } });
      await qmp.execute("migrate", { channels });
      await awaitMigration(qmp, { signal, interval: POLL_MILLISECONDS });
      await awaitRunning(successor.qmp, signal);
    });
  },
};

/** Through a file: the process ends before the next one starts. */
async function throughFile(
  guest: Guest,
  settings: Settings,
  signal: AbortSignal,
): Promise<void> {
  const path = guest.directory.file("state");
  const uri = `file:${path}`;
  const { process } = guest;
  await configure(process, settings);
  await process.qmp.execute("migrate", { uri });
  await awaitMigration(process.qmp, { signal, interval: POLL_MILLISECONDS });
  await process.quit();
  await handOver(guest, guest.resources, ["defer"], async (successor) => {
    await configure(successor, settings);
    await successor.qmp.execute("migrate-incoming", { uri });
    await awaitMigration(successor.qmp, { signal, interval: POLL_MILLISECONDS });
    await awaitRunning(successor.qmp, signal);
  });
  await Deno.remove(path);
}

const snapshot: Update = {
  name: "mapped-ram",
  run: (guest, signal) =>
    throughFile(guest, {
      capabilities: ["mapped-ram", "multifd"],
      parameters: { mode: "normal", "multifd-channels": 2, "max-bandwidth": 0 },
    }, signal),
};

const cprReboot: Update = {
  name: "cpr-reboot",
  run: (guest, signal) =>
    throughFile(guest, {
      capabilities: ["x-ignore-shared"],
      parameters: { mode: "cpr-reboot" },
    }, signal),
};

/** The guest's RAM moves, too: to where the next update wants it. */
function live(ram: RamPlace): Update {
  return {
    name: "live",
    async run(guest, signal) {
      const uri = `unix:${guest.directory.file("live")}`;
      const tap = guest.resources.tap === "tap0" ? "tap1" : "tap0";
      await handOver(guest, { ram, tap }, ["defer"], async (successor) => {
        const { qmp } = guest.process;
        await successor.qmp.execute("migrate-incoming", { uri });
        await configure(guest.process, { parameters: { mode: "normal", "max-bandwidth": 0 } });
        await qmp.execute("migrate", { uri });
        await awaitMigration(qmp, { signal, interval: POLL_MILLISECONDS });
        await awaitRunning(successor.qmp, signal);
      });
    },
  };
}

/** All ways, in an order in which one guest can take them: the last one wants its RAM in a file. */
export const updates: readonly Update[] = [
  cprExec,
  cprTransfer,
  snapshot,
  live("memfd"),
  { ...live({ file: SHARED_FILE }), name: "live, RAM to a file" },
  cprReboot,
];
