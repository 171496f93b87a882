/**
 * cpr-exec with an interim monitor, and one of the two processes is killed at whatever moment: if the other one
 * has the guest, or can have it, it lives on there; it never runs in both.
 *
 *   the process has the guest -> its interim monitor has it -> the process, its successor by then, has it
 */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { patience } from "../support/patience.ts";
import { killIfThere } from "../support/processes.ts";
import { newSeed, Random } from "../support/random.ts";
import { thorough } from "../support/thorough.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";

const MOMENTS = thorough ? 60 : 10;

type Victim = "process" | "interim monitor";
/** Whether the guest lives; if not, it was killed with the one process that had it. */
type Outcome = "lives" | "killed";

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Milliseconds from the command to the successor with the guest: the least of three, so that the points
 * are within the update and not behind it.
 */
async function duration(): Promise<number> {
  const durations: number[] = [];
  for (let time = 0; time < 3; time++) {
    await using machine = await UpdatedMachine.start();
    const begin = performance.now();
    await machine.update();
    durations.push(performance.now() - begin);
  }
  return Math.min(...durations);
}

/** Kills `victim` so long after an update began. Fails unless the guest lives in one process, or died with one. */
async function kill(victim: Victim, milliseconds: number): Promise<Outcome> {
  await using machine = await UpdatedMachine.start();
  const { vm, log } = machine;
  log.place = `an update whose ${victim} was killed after ${milliseconds.toFixed(0)} ms`;
  await machine.execute(vm.command);
  await pause(milliseconds);
  const [target] = vm.processes.filter((pid) => (pid === vm.pid) === (victim === "process"));
  if (target !== undefined) killIfThere(target);

  const signal = patience();
  for (let alone = false;;) {
    const beats = log.verify();
    const { processes } = vm;
    if (processes.length === 0) return "killed";
    await pause(100);
    if (processes.length > 1 || vm.processes.length > 1) {
      signal.throwIfAborted();
      continue;
    }
    // One that has just been left alone may still be about to end, as it must without a guest.
    if (log.verify() > beats && alone) break;
    alone = true;
    if (signal.aborted) {
      throw new Error(`${processes} neither runs the guest nor ends: ${log.place}`);
    }
  }
  await log.passes();
  assertEquals(vm.processes.length, 1);
  return "lives";
}

for (const victim of ["process", "interim monitor"] as const) {
  Deno.test(`cpr-exec: its ${victim} killed at any of ${MOMENTS} points`, async () => {
    const seed = newSeed();
    try {
      const random = new Random(seed);
      const whole = await duration();
      const outcomes: Outcome[] = [];
      for (let i = 0; i < MOMENTS; i++) {
        outcomes.push(await kill(victim, whole * (i + random.below(1000) / 1000) / MOMENTS));
      }
      const lives = outcomes.filter((outcome) => outcome === "lives").length;
      // An interim monitor has the guest for about half of an update; before and after, the process has it.
      assertGreater(lives, victim === "process" ? MOMENTS / 4 : 1, String(outcomes));
      assert(lives < MOMENTS, "somebody who had the guest was killed");
    } catch (cause) {
      throw new Error(`MOLT_SEED=${seed}: ${cause}`, { cause });
    }
  });
}
