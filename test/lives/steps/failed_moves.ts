/** Moves to another process that fail: the guest goes on in its own. */
import { assertEquals } from "@std/assert";
import { awaitMigration, MigrationFailedError } from "../../../src/qmp_client/mod.ts";
import { patience } from "../../support/patience.ts";
import { killIfThere } from "../../support/processes.ts";
import type { Random } from "../../support/random.ts";
import { unixChannels } from "../../support/transferred_machine.ts";
import { FullDisk } from "../full_disk.ts";
import type { Life, Machine, Monitor } from "../life.ts";
import type { Step } from "../step.ts";

type Mode = "cpr-transfer" | "normal";
const modes: readonly Mode[] = ["cpr-transfer", "normal"];

/** A destination that listens, and what to say to the source. */
interface Destination {
  readonly machine: Machine;
  readonly migrate: (monitor: Monitor) => Promise<unknown>;
}

async function startDestination(life: Life, mode: Mode, misfit = false): Promise<Destination> {
  const [main, cpr] = [life.path("run/main"), life.path("run/cpr")];
  if (mode === "normal") {
    const incoming = [`unix:${main}`];
    const machine = await life.next({ incoming, ownMemory: true, misfit });
    await life.listening(main, machine);
    return { machine, migrate: ({ execute }) => execute("migrate", { uri: `unix:${main}` }) };
  }
  const channels = unixChannels(main, cpr);
  const incoming = channels.map((channel) => JSON.stringify(channel));
  const machine = await life.next({ incoming, misfit, adopts: true });
  await life.listening(cpr, machine);
  return { machine, migrate: ({ execute }) => execute("migrate", { channels: [...channels] }) };
}

/** Moves the guest to a destination, which must end with `status`. Ends the destination. */
async function failedMove(
  life: Life,
  mode: Mode,
  { misfit = false, slowly = false, status, meanwhile }: {
    readonly misfit?: boolean;
    /** So that the guest cannot arrive. */
    readonly slowly?: boolean;
    readonly status: "failed" | "cancelled";
    readonly meanwhile?: (monitor: Monitor, destination: Machine) => Promise<void>;
  },
): Promise<void> {
  const { machine, migrate } = await startDestination(life, mode, misfit);
  await life.qmp(async (monitor) => {
    const { client, execute } = monitor;
    const bandwidth = slowly ? 1 << 20 : 0;
    await execute("migrate-set-parameters", { mode, "max-bandwidth": bandwidth });
    await migrate(monitor);
    await meanwhile?.(monitor, machine);
    const result = await awaitMigration(client, { signal: patience() }).catch((error) => error);
    if (!(result instanceof MigrationFailedError)) {
      throw new Error(`the migration was to be ${status}: ${JSON.stringify(result)}`, {
        cause: result,
      });
    }
    assertEquals(result.status, status, result.message);
    await execute("migrate-set-parameters", { mode: "normal", "max-bandwidth": 0 });
    await life.until(
      async () => (await client.execute("query-status")).status === life.state,
      `the guest is ${life.state} again`,
    );
  });
  await life.end(machine);
  await Promise.all(
    ["main", "cpr"].map((name) => Deno.remove(life.path(`run/${name}`)).catch(() => {})),
  );
}

/** Waits until RAM is being sent. */
async function active(life: Life, { client }: Monitor): Promise<void> {
  await life.until(
    async () => (await client.execute("query-migrate")).status === "active",
    "RAM is sent",
  );
}

function signal(life: Life, { pid }: Machine, name: Deno.Signal): void {
  life.journal.note(`kill -${name} ${pid}`);
  killIfThere(pid, name);
}

async function pause(random: Random): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, random.below(200)));
}

/** What can go wrong with a destination. */
export const failedMoves: readonly Step[] = [
  ...modes.map((mode): Step => ({
    name: `${mode}: to another machine`,
    kind: "failure",
    run: (life) => failedMove(life, mode, { misfit: true, status: "failed" }),
  })),
  ...modes.map((mode): Step => ({
    name: `${mode}: a destination that falls silent, cancelled`,
    kind: "failure",
    run: (life, random) =>
      failedMove(life, mode, {
        status: "cancelled",
        slowly: mode === "normal",
        meanwhile: async (monitor, destination) => {
          signal(life, destination, "SIGSTOP");
          await pause(random);
          await monitor.execute("migrate_cancel");
        },
      }),
  })),
  {
    name: "normal: the destination is killed",
    kind: "failure",
    run: (life, random) =>
      failedMove(life, "normal", {
        status: "failed",
        slowly: true,
        meanwhile: async (monitor, destination) => {
          await active(life, monitor);
          await pause(random);
          signal(life, destination, "SIGKILL");
        },
      }),
  },
  {
    name: "normal: cancelled",
    kind: "failure",
    run: (life, random) =>
      failedMove(life, "normal", {
        status: "cancelled",
        slowly: true,
        meanwhile: async (monitor) => {
          await pause(random);
          await monitor.execute("migrate_cancel");
        },
      }),
  },
  {
    name: "the disk is full",
    kind: "failure",
    possible: ({ mayMount }) => mayMount,
    run: async (life, random) => {
      await using disk = await FullDisk.mount(life);
      const file = `${disk.path}/guest`;
      const { qmp } = life.machine.names;
      const ways = [
        ["update_exec.ts", "--state"],
        ["update_reboot.ts", "save", "--state"],
        ...(life.state === "running" ? [["snapshot.ts", "save", "--file"]] : []),
      ];
      const [script = "", ...args] = random.pick(ways);
      await life.script(1, script, "--qmp", qmp, ...args, file);
    },
  },
  {
    name: "nobody listens",
    kind: "failure",
    run: async (life, random) => {
      const { qmp } = life.machine.names;
      const to = random.pick(["tcp:127.0.0.1:1", `unix:${life.path("run/nobody")}`]);
      await life.script(1, "migrate.ts", "--qmp", qmp, "--to", to);
    },
  },
];
