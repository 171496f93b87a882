/** Updates by cpr-exec that fail: the guest stays with the process, or with its interim monitor. */
import { assertEquals, assertNotEquals } from "@std/assert";
import { killIfThere } from "../../support/processes.ts";
import type { Random } from "../../support/random.ts";
import type { Life } from "../life.ts";
import type { Step } from "../step.ts";

/** Where the guest is afterwards. */
type Place = "process" | "interim monitor";

/** Has the process execute `command`, by the script or by plain QMP, which fails. */
async function failedExec(
  life: Life,
  random: Random,
  { command, place, meanwhile }: {
    readonly command: readonly string[];
    readonly place: Place;
    /** By plain QMP only: what happens to the successor. */
    readonly meanwhile?: (pid: number) => Promise<void>;
  },
): Promise<void> {
  const { pid, names } = life.machine;
  if (meanwhile === undefined && random.chance(2)) {
    const result = await life.script(1, "update_exec.ts", "--qmp", names.qmp, "--", ...command);
    await settled(life, pid, place);
    if (place === "interim monitor") assertEquals(result.pid, life.machine.pid);
    return;
  }
  await life.qmp(async ({ execute }) => {
    await execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...command],
    });
    await execute("migrate", {});
    await meanwhile?.(pid);
  });
  await settled(life, pid, place);
}

/** Follows the guest to where it is expected, where the failure is reported. */
async function settled(life: Life, pid: number, place: Place): Promise<void> {
  if (place === "interim monitor") await life.gone(pid);
  await life.qmp(async ({ client }) => {
    await life.until(
      async () => (await client.execute("query-migrate")).status === "failed",
      "the update has failed",
    );
    const owner = (await client.execute("x-query-update")).pid;
    if (place === "process") assertEquals(owner, pid, "the guest stays in its process");
    else assertNotEquals(owner, pid, "the guest stays with the interim monitor");
    life.follow(owner);
  });
}

/** What can be wrong with a successor. */
export const failedExecs: readonly Step[] = [
  {
    name: "exec: no such program",
    kind: "failure",
    run: (life, random) =>
      failedExec(life, random, { command: ["/no/such/program", "-M", "x"], place: "process" }),
  },
  {
    name: "exec: the program ends at once",
    kind: "failure",
    run: (life, random) =>
      failedExec(life, random, { command: ["false"], place: "interim monitor" }),
  },
  {
    name: "exec: the program refuses its command line",
    kind: "failure",
    run: (life, random) =>
      failedExec(life, random, {
        command: [...life.machine.command, "-no-such-option"],
        place: "interim monitor",
      }),
  },
  {
    name: "exec: the successor never gets ready",
    kind: "failure",
    run: async (life) => {
      const { pid } = life.machine;
      const limit = { "x-successor-timeout": 3000 };
      const command = ["sh", "-c", "exec sleep 600"];
      await life.qmp(async ({ execute }) => {
        const parameters = { "mode": "cpr-exec", "cpr-exec-command": command } as const;
        await execute("migrate-set-parameters", { ...parameters, ...limit });
        await execute("migrate", {});
      });
      await settled(life, pid, "interim monitor");
    },
  },
  {
    name: "exec: the successor is killed",
    kind: "failure",
    run: async (life, random) => {
      const started = life.path("files/started");
      const script = `: > "$0"; exec sleep 60`;
      await failedExec(life, random, {
        command: ["sh", "-c", script, started],
        place: "interim monitor",
        meanwhile: async (pid) => {
          await life.until(() => exists(started), "the successor starts");
          await new Promise((resolve) => setTimeout(resolve, random.below(100)));
          life.journal.note(`kill -9 ${pid}`);
          killIfThere(pid);
        },
      });
      await Deno.remove(started);
    },
  },
];

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
