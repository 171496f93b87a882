/** Ways to replace the process under a running guest. */
import {
  awaitMigration,
  type MigrationCapability,
  type MigrationChannel,
  type MigrationParameters,
  type QmpClient,
  QmpDisconnectedError,
} from "../../../src/qmp_client/mod.ts";
import type { Vmm } from "../../support/programs.ts";
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

/** Live migration, of RAM as well: to where the next update wants it. */
async function migrate(
  guest: Guest,
  ram: RamPlace,
  signal: AbortSignal,
  vmm: Vmm = "molt",
): Promise<void> {
  const uri = `unix:${guest.directory.file("live")}`;
  const before = guest.resources;
  const tap = before.tap === "tap0" ? "tap1" : "tap0";
  await handOver(guest, { ram, tap }, ["defer"], async (successor) => {
    const { qmp } = guest.process;
    await successor.qmp.execute("migrate-incoming", { uri });
    await configure(guest.process, { parameters: { mode: "normal", "max-bandwidth": 0 } });
    await qmp.execute("migrate", { uri });
    await awaitMigration(qmp, { signal, interval: POLL_MILLISECONDS });
    await awaitRunning(successor.qmp, signal);
  }, vmm);
  if (before.ram !== "memfd") await Deno.remove(before.ram.file);
}

const live: Update = {
  name: "live",
  run: (guest, signal) => migrate(guest, "memfd", signal),
};

const liveToFile: Update = {
  name: "live, RAM to a file",
  async run(guest, signal) {
    const before = guest.resources.ram;
    const [first, second] = SHARED_FILES;
    const file = before !== "memfd" && before.file === first ? second : first;
    await migrate(guest, { file }, signal);
  },
};

const throughQemu: Update = {
  name: "live, QEMU and back",
  async run(guest, signal) {
    await migrate(guest, "memfd", signal, "qemu");
    await migrate(guest, "memfd", signal);
  },
};

/** All ways, in an order in which one guest can take them: the last one wants its RAM in a file. */
export const updates: readonly Update[] = [
  cprExec,
  cprTransfer,
  snapshot,
  live,
  throughQemu,
  liveToFile,
  cprReboot,
];
