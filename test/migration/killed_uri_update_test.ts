/**
 * cpr-exec with a `uri`, and one of its processes is killed at whatever moment: the guest lives on in exactly
 * one process, or nobody runs it. A script's update leaves the file as the truth then.
 */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { patience } from "../support/patience.ts";
import { killIfThere } from "../support/processes.ts";
import { newSeed, Random } from "../support/random.ts";
import { thorough } from "../support/thorough.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";

const MOMENTS = thorough ? 40 : 3;

type Victim = "process" | "interim monitor";

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** What is executed, and where the state goes. */
function commandOf(machine: UpdatedMachine, way: "molt" | "script"): readonly [string[], string] {
  const uri = `file:${machine.directory.file("state")}`;
  const command = [...machine.vm.command, "-incoming", uri];
  return [way === "molt" ? command : ["sh", "-c", 'exec "$@"', "sh", ...command], uri];
}

async function duration(way: "molt" | "script"): Promise<number> {
  await using machine = await UpdatedMachine.start();
  const begin = performance.now();
  await machine.update(...commandOf(machine, way));
  return performance.now() - begin;
}

/** Kills `victim` so long after an update began. True if the guest lives, in one process. */
async function kill(
  way: "molt" | "script",
  victim: Victim,
  milliseconds: number,
): Promise<boolean> {
  await using machine = await UpdatedMachine.start();
  const { vm, log } = machine;
  log.place = `an update whose ${victim} was killed after ${milliseconds.toFixed(0)} ms`;
  await machine.execute(...commandOf(machine, way));
  await pause(milliseconds);
  const [target] = vm.processes.filter((pid) => (pid === vm.pid) === (victim === "process"));
  if (target !== undefined) killIfThere(target);

  const signal = patience();
  for (let alone = false;;) {
    const beats = log.verify();
    if (vm.processes.length === 0) return false;
    await pause(100);
    // Two that do not end, or one that neither runs the guest nor ends, come to this.
    signal.throwIfAborted();
    if (vm.processes.length > 1) continue;
    if (log.verify() > beats && alone) break;
    alone = true;
  }
  // All of its memory is as it left it.
  await log.passes();
  assertEquals(vm.processes.length, 1);
  return true;
}

for (const way of ["molt", "script"] as const) {
  for (const victim of ["process", "interim monitor"] as const) {
    Deno.test(`cpr-exec of a ${way} with a uri: its ${victim} killed at any of ${MOMENTS} points`, async () => {
      const seed = newSeed();
      try {
        const random = new Random(seed);
        const whole = await duration(way);
        let lives = 0;
        for (let i = 0; i < MOMENTS; i++) {
          const moment = whole * (i + random.below(1000) / 1000) / MOMENTS;
          if (await kill(way, victim, moment)) lives++;
        }
        // Before a script's molt answers the process is all that there is; after it the interim monitor is.
        if (victim === "process") assert(lives < MOMENTS || way === "molt");
        else assertGreater(lives, 0);
      } catch (cause) {
        throw new Error(`MOLT_SEED=${seed}: ${cause}`, { cause });
      }
    });
  }
}
