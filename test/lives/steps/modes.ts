/** Migrations in every mode, by plain QMP. */
import {
  awaitMigration,
  type MigrationCapability,
  QmpDisconnectedError,
} from "../../../src/qmp_client/mod.ts";
import { patience } from "../../support/patience.ts";
import type { Random } from "../../support/random.ts";
import { unixChannels } from "../../support/transferred_machine.ts";
import type { Life, Machine, Monitor } from "../life.ts";
import type { Step } from "../step.ts";

/** Sets capabilities for one migration; the same in the process that gets the guest. */
export async function setCapabilities(
  { execute }: Monitor,
  names: readonly MigrationCapability[],
  state = true,
): Promise<void> {
  if (names.length === 0) return;
  await execute("migrate-set-capabilities", {
    capabilities: names.map((capability) => ({ capability, state })),
  });
}

/** Waits until the guest has arrived in a machine, as it was. */
async function arrived(life: Life, machine: Machine): Promise<void> {
  await life.qmp(async ({ client }) => {
    await life.until(async () => {
      const { status } = await client.execute("query-status");
      return status === "running" || status === "paused" || status === "prelaunch";
    }, "the guest has arrived");
  }, machine);
  life.follow(machine.pid, machine);
}

/** Ends the process that the guest has left. */
async function quit(life: Life): Promise<void> {
  const { pid } = life.machine;
  await life.qmp(({ execute }) => execute("quit"));
  await life.gone(pid);
}

/** Hands the guest to `next`, which is waiting for it. */
async function moveTo(
  life: Life,
  next: Machine,
  migrate: (monitor: Monitor) => Promise<unknown>,
): Promise<void> {
  await life.qmp(async (monitor) => {
    await migrate(monitor);
    await awaitMigration(monitor.client, { signal: patience() });
  });
  await quit(life);
  await arrived(life, next);
}

/** The guest rests in a file while its process ends and another one is started. */
async function throughFile(
  life: Life,
  capabilities: readonly MigrationCapability[],
  mode: "normal" | "cpr-reboot",
): Promise<void> {
  const file = life.path("files/guest");
  const configure = async (monitor: Monitor) => {
    await setCapabilities(monitor, capabilities);
    const channels = capabilities.includes("multifd") ? { "multifd-channels": 2 } : {};
    await monitor.execute("migrate-set-parameters", { mode, ...channels });
  };
  await life.qmp(async (monitor) => {
    await configure(monitor);
    await monitor.execute("migrate", { uri: `file:${file}` });
    await awaitMigration(monitor.client, { signal: patience() });
  });
  await quit(life);
  const next = await life.next({ incoming: ["defer"] });
  await life.qmp(async (monitor) => {
    await configure(monitor);
    await monitor.execute("migrate-incoming", { uri: `file:${file}` });
  }, next);
  await arrived(life, next);
  await life.qmp(async (monitor) => {
    await setCapabilities(monitor, capabilities, false);
    await monitor.execute("migrate-set-parameters", { mode: "normal" });
  });
  await Deno.remove(file);
}

/** Has the guest's process execute itself. */
async function exec(life: Life, state: string | undefined): Promise<void> {
  const { machine } = life;
  const incoming = state === undefined ? [] : ["-incoming", `file:${state}`];
  await life.qmp(async ({ client, execute }) => {
    await execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...machine.command, ...incoming],
    });
    await execute("migrate", state === undefined ? {} : { uri: `file:${state}` });
    // Its successor has monitors of its own: this connection ends, or a failure is reported on it.
    await awaitMigration(client, { signal: patience() }).catch((error) => {
      if (!(error instanceof QmpDisconnectedError)) throw error;
    });
  });
  await arrived(life, machine);
}

const live = (life: Life, random: Random): MigrationCapability[] => [
  "return-path",
  ...(random.chance(2) && life.traits.memory === "memfd" ? ["multifd"] as const : []),
];

/** Each mode. */
export const modes: readonly Step[] = [
  { name: "cpr-exec", kind: "step", run: (life) => exec(life, undefined) },
  {
    name: "cpr-exec by a file",
    kind: "step",
    run: async (life) => {
      const state = life.path("files/exec");
      await exec(life, state);
      await Deno.remove(state);
    },
  },
  {
    name: "cpr-transfer",
    kind: "step",
    run: async (life) => {
      const [main, cpr] = [life.path("run/main"), life.path("run/cpr")];
      const channels = unixChannels(main, cpr);
      const incoming = channels.map((channel) => JSON.stringify(channel));
      const next = await life.next({ incoming, adopts: true });
      await life.listening(cpr, next);
      await moveTo(life, next, async ({ execute }) => {
        await execute("migrate-set-parameters", { mode: "cpr-transfer" });
        await execute("migrate", { channels: [...channels] });
      });
    },
  },
  {
    name: "cpr-reboot",
    kind: "step",
    run: (life) => throughFile(life, ["x-ignore-shared"], "cpr-reboot"),
  },
  {
    name: "mapped-ram",
    kind: "step",
    run: (life, random) =>
      throughFile(
        life,
        random.chance(2) ? ["mapped-ram"] : ["mapped-ram", "multifd"],
        "normal",
      ),
  },
  { name: "normal by a file", kind: "step", run: (life) => throughFile(life, [], "normal") },
  {
    name: "normal over unix",
    kind: "step",
    run: async (life, random) => {
      const path = life.path("run/main");
      const next = await life.next({ incoming: ["defer"], ownMemory: true });
      await liveMove(life, next, `unix:${path}`, live(life, random));
    },
  },
  {
    name: "normal over tcp",
    kind: "step",
    run: async (life, random) => {
      const next = await life.next({ incoming: ["defer"], ownMemory: true });
      await liveMove(life, next, "tcp:127.0.0.1:0", live(life, random));
    },
  },
];

async function liveMove(
  life: Life,
  next: Machine,
  uri: string,
  capabilities: readonly MigrationCapability[],
): Promise<void> {
  const configure = async (monitor: Monitor) => {
    await setCapabilities(monitor, capabilities);
    if (!capabilities.includes("multifd")) return;
    await monitor.execute("migrate-set-parameters", { "multifd-channels": 2 });
  };
  const to = await life.qmp(async (monitor) => {
    await configure(monitor);
    await monitor.execute("migrate-incoming", { uri });
    if (!uri.startsWith("tcp:")) return uri;
    const [address] = (await monitor.execute("query-migrate"))["socket-address"] ?? [];
    return `tcp:127.0.0.1:${address?.["port"]}`;
  }, next);
  await moveTo(life, next, async (monitor) => {
    await configure(monitor);
    await monitor.execute("migrate-set-parameters", { mode: "normal" });
    await monitor.execute("migrate", { uri: to });
  });
  life.followMemory(next);
  await life.qmp((monitor) => setCapabilities(monitor, capabilities, false));
}
