/** The project's scripts, as an operator runs them. */
import type { Life, ScriptOutcome } from "../life.ts";
import type { Random } from "../../support/random.ts";
import type { Step } from "../step.ts";

/** Whether a script that starts a successor finds what the process was started with. */
function qmp(life: Life): string[] {
  return ["--qmp", life.machine.names.qmp, "--timeout", "120"];
}

/** The process that a script reports. */
function pidOf(result: ScriptOutcome): number {
  if (result.pid === undefined) throw new Error("the script reports no process");
  return result.pid;
}

function checkStatus(life: Life, { status }: ScriptOutcome): void {
  if (status !== life.state) throw new Error(`the script reports the state ${status}`);
}

async function saveSnapshot(life: Life, random: Random): Promise<string[]> {
  const file = ["--file", life.path(`files/snapshot`), "--channels", random.pick(["0", "2"])];
  await life.script(0, "snapshot.ts", "save", ...qmp(life), ...file);
  return file;
}

/** All five. */
export const tasks: readonly Step[] = [
  {
    name: "update:exec",
    kind: "step",
    copies: 2,
    run: async (life, random) => {
      const state = random.chance(3) ? ["--state", life.path("files/state")] : [];
      const result = await life.script(0, "update_exec.ts", ...qmp(life), ...state);
      checkStatus(life, result);
      if (result.pid !== life.machine.pid) throw new Error(`process ${result.pid} has the guest`);
    },
  },
  {
    name: "update:transfer",
    kind: "step",
    copies: 2,
    run: async (life) => {
      const log = ["--log", life.log()];
      const result = await life.script(0, "update_transfer.ts", ...qmp(life), ...log);
      checkStatus(life, result);
      life.follow(pidOf(result));
    },
  },
  {
    name: "update:reboot",
    kind: "step",
    run: async (life, random) => {
      const state = ["--state", life.path("files/reboot")];
      const log = ["--log", life.log()];
      if (random.chance(2)) {
        await life.script(0, "update_reboot.ts", "save", ...qmp(life), ...state);
        const result = await life.script(0, "update_reboot.ts", "resume", ...state, ...log);
        life.follow(pidOf(result));
      } else {
        const result = await life.script(0, "update_reboot.ts", ...qmp(life), ...state, ...log);
        checkStatus(life, result);
        life.follow(pidOf(result));
      }
    },
  },
  {
    name: "snapshot save",
    kind: "step",
    possible: ({ state }) => state === "running",
    run: async (life, random) => {
      await saveSnapshot(life, random);
    },
  },
  {
    name: "snapshot restore",
    kind: "step",
    possible: ({ state }) => state === "running",
    run: async (life, random) => {
      life.output.verify();
      const first = life.output.beat;
      const file = await saveSnapshot(life, random);
      life.output.verify();
      const last = life.output.beat + 1;
      await life.output.beats(2);
      await life.qmp(async ({ execute }) => {
        await execute("stop");
        await execute("quit");
      });
      await life.gone(life.machine.pid);
      life.output.returnTo(first, last);
      const stop = random.chance(3) ? ["--stop"] : [];
      const log = ["--log", life.log()];
      const result = await life.script(0, "snapshot.ts", "restore", ...file, ...stop, ...log);
      if (stop.length > 0) life.state = "paused";
      checkStatus(life, result);
      life.follow(pidOf(result));
    },
  },
  {
    name: "migrate",
    kind: "step",
    copies: 2,
    run: async (life, random) => {
      const channels = ["--channels", random.pick(["0", "2"])];
      const more = [...qmp(life), ...channels, "--log", life.log()];
      // What is in a shared file would be in the destination's hands while the source still writes it.
      if (life.traits.memory === "memfd") {
        const result = await life.script(0, "migrate.ts", ...more);
        checkStatus(life, result);
        life.follow(pidOf(result));
        return;
      }
      const next = life.nextCommand({ ownMemory: true });
      const there = life.traits.paths === "relative" ? life.path("start") : life.path("");
      const result = await life.script(
        0,
        "migrate.ts",
        ...more,
        "--",
        ...["sh", "-c", 'cd "$0" && exec "$@"', there, ...next.command],
      );
      checkStatus(life, result);
      life.follow(pidOf(result), next);
      life.followMemory(next);
    },
  },
];
