/** Ways to replace the process under a running guest. */
import {
  awaitMigration,
  type MigrationCapability,
  type MigrationChannel,
  type MigrationInformation,
  type MigrationParameters,
  type QmpClient,
  QmpDisconnectedError,
} from "../../../src/qmp_client/mod.ts";
import type { updateNames } from "../plan.ts";
import type { Vmm } from "../../support/programs.ts";
import type { VirtualMachine } from "../../support/virtual_machine.ts";
import { type Guest, type RamPlace, type Resources, yieldToHost } from "./guest.ts";

/**
 * A way. When `run` returns, the guest runs in `guest.process`, and no other process is left. Returns
 * what is to be said of it.
 */
export interface Update {
  readonly name: (typeof updateNames)[number];
  /** Whether the guest's connection to passt goes with it. */
  readonly keepsPasst: boolean;
  readonly run: (guest: Guest, signal: AbortSignal) => Promise<string>;
}

/** What both sides of a migration are configured with. */
interface Settings {
  readonly capabilities?: readonly MigrationCapability[];
  readonly parameters?: MigrationParameters;
}

const usedCapabilities = ["mapped-ram", "multifd", "x-ignore-shared"] as const;
const POLL_MILLISECONDS = 100;
const SHARED_FILES = ["/dev/shm/guest-ram-a", "/dev/shm/guest-ram-b"] as const;

async function configure(
  { qmp }: VirtualMachine,
  { capabilities = [], parameters }: Settings,
): Promise<void> {
  // The guest's last move may have left others on.
  await qmp.execute("migrate-set-capabilities", {
    capabilities: usedCapabilities.map((capability) => ({
      capability,
      state: capabilities.includes(capability),
    })),
  });
  if (parameters) await qmp.execute("migrate-set-parameters", parameters);
}

/** What moved, and how long the guest was paused. */
function describe({ ram, downtime = 0 }: MigrationInformation): string {
  if (ram === undefined) return "";
  const megabytes = (ram.transferred / (1 << 20)).toFixed(1);
  return `${megabytes} MiB in ${ram["dirty-sync-count"]} rounds, ${downtime} ms`;
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
  vmm: Vmm = "molt",
): Promise<void> {
  const successor = await guest.start({ ...resources, incoming }, vmm);
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
  keepsPasst: true,
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
    await yieldToHost(process);
    await awaitRunning(process.qmp, signal);
    await guest.console.attach(guest.consolePath);
    return "";
  },
};

const cprTransfer: Update = {
  name: "cpr-transfer",
  keepsPasst: true,
  async run(guest, signal) {
    const channels = (["main", "cpr"] as const).map((type): MigrationChannel => ({
      "channel-type": type,
      "addr": { transport: "socket", type: "unix", path: guest.directory.file(type) },
    }));
    const incoming = channels.map((channel) => JSON.stringify(channel));
    let said = "";
    await handOver(guest, guest.resources, incoming, async (successor) => {
      const { qmp } = guest.process;
      await configure(guest.process, { parameters: { mode: "cpr-transfer" } });
      await qmp.execute("migrate", { channels });
      said = describe(await awaitMigration(qmp, { signal, interval: POLL_MILLISECONDS }));
      await awaitRunning(successor.qmp, signal);
    });
    return said;
  },
};

/** Through a file: the process ends before the next one starts. */
async function throughFile(
  guest: Guest,
  settings: Settings,
  signal: AbortSignal,
): Promise<string> {
  const path = guest.directory.file("state");
  const uri = `file:${path}`;
  const { process } = guest;
  await configure(process, settings);
  await process.qmp.execute("migrate", { uri });
  const said = describe(
    await awaitMigration(process.qmp, { signal, interval: POLL_MILLISECONDS }),
  );
  await process.quit();
  await handOver(guest, guest.resources, ["defer"], async (successor) => {
    await configure(successor, settings);
    await successor.qmp.execute("migrate-incoming", { uri });
    await awaitMigration(successor.qmp, { signal, interval: POLL_MILLISECONDS });
    await awaitRunning(successor.qmp, signal);
  });
  await Deno.remove(path);
  return said;
}

const snapshot: Update = {
  name: "mapped-ram",
  keepsPasst: false,
  run: (guest, signal) =>
    throughFile(guest, {
      capabilities: ["mapped-ram", "multifd"],
      parameters: { mode: "normal", "multifd-channels": 2, "max-bandwidth": 0 },
    }, signal),
};

/** Live migration, of RAM as well: to where the next update wants it. */
async function migrate(
  guest: Guest,
  ram: RamPlace,
  signal: AbortSignal,
  vmm: Vmm = "molt",
): Promise<string> {
  const uri = `unix:${guest.directory.file("live")}`;
  const before = guest.resources;
  const tap = before.tap === "tap0" ? "tap1" : "tap0";
  let said = "";
  await handOver(guest, { ram, tap }, ["defer"], async (successor) => {
    const { qmp } = guest.process;
    await successor.qmp.execute("migrate-incoming", { uri });
    await configure(guest.process, { parameters: { mode: "normal", "max-bandwidth": 0 } });
    await qmp.execute("migrate", { uri });
    said = describe(await awaitMigration(qmp, { signal, interval: POLL_MILLISECONDS }));
    await awaitRunning(successor.qmp, signal);
  }, vmm);
  if (before.ram !== "memfd") await Deno.remove(before.ram.file);
  return said;
}

const live: Update = {
  name: "live",
  keepsPasst: false,
  run: (guest, signal) => migrate(guest, "memfd", signal),
};

const liveToFile: Update = {
  name: "live, RAM to a file",
  keepsPasst: false,
  async run(guest, signal) {
    const before = guest.resources.ram;
    const [first, second] = SHARED_FILES;
    const file = before !== "memfd" && before.file === first ? second : first;
    return await migrate(guest, { file }, signal);
  },
};

const throughQemu: Update = {
  name: "live, QEMU and back",
  keepsPasst: false,
  async run(guest, signal) {
    const there = await migrate(guest, "memfd", signal, "qemu");
    return `${there}; ${await migrate(guest, "memfd", signal)}`;
  },
};

const cprReboot: Update = {
  name: "cpr-reboot",
  keepsPasst: false,
  async run(guest, signal) {
    // RAM has to be where a successor finds it.
    if (guest.resources.ram === "memfd") await liveToFile.run(guest, signal);
    return await throughFile(guest, {
      capabilities: ["x-ignore-shared"],
      parameters: { mode: "cpr-reboot" },
    }, signal);
  },
};

/** All ways. */
export const updates: readonly Update[] = [
  cprExec,
  cprTransfer,
  snapshot,
  live,
  throughQemu,
  liveToFile,
  cprReboot,
];
