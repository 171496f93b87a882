/**
 * System calls of the C library that fail, one at a time, in every situation of a guest's life: the
 * guest lives on, or is stopped in `internal-error` and its monitor answers.
 *
 * Every run has a sample, from a seed that is printed. MOLT_THOROUGH=1 (deno task test:thorough) has each
 * call fail at each of its first ten uses. MOLT_INJECT='cpr-exec/old: pwrite, use 2' repeats what begins so.
 */
import { assert, assertEquals } from "@std/assert";
import { newSeed, Random } from "../support/random.ts";
import { thorough } from "../support/thorough.ts";
import type { Scenario } from "./scenario.ts";
import { scenarios } from "./scenarios.ts";
import {
  describeInjection,
  formatLosses,
  formatTable,
  formatUnused,
  plan,
  type Result,
  Subjects,
} from "./sweep.ts";

/** Milliseconds after which the sample begins nothing more. */
const SAMPLE = 30_000;
/** Failures in a row of one scenario's process, in the sample. */
const SAMPLE_RUN = 3;
const chosen = Deno.env.get("MOLT_INJECT");

/** Has each use of each call of `scenario` fail. */
async function sweep(scenario: Scenario): Promise<void> {
  const results: Result[] = [];
  for (const process of scenario.processes) {
    await using subjects = new Subjects(scenario);
    const counts = await subjects.count(process);
    for (const planned of plan(scenario, process, counts)) {
      if (chosen !== undefined && !describeInjection(planned).startsWith(chosen)) continue;
      results.push(await subjects.inject(planned));
    }
    console.log(formatUnused(scenario, process, counts));
  }
  console.log(formatTable(results));
  assert(chosen !== undefined || results.some(({ reached }) => reached), "nothing was reached");
  assertEquals(formatLosses(results), "");
}

/** One scenario's process after the other, in a random order, until the time is over. */
async function sample(random: Random): Promise<Result[]> {
  const places = scenarios.flatMap((scenario) =>
    scenario.processes.map((process) => ({ scenario, process, order: random.word() }))
  ).toSorted((a, b) => a.order - b.order);
  const results: Result[] = [];
  const end = performance.now() + SAMPLE;
  for (const { scenario, process } of places) {
    if (performance.now() > end) break;
    await using subjects = new Subjects(scenario);
    const planned = plan(scenario, process, await subjects.count(process));
    for (let i = 0; i < SAMPLE_RUN && performance.now() < end; i++) {
      const injection = random.pick(planned);
      const result = await subjects.inject(injection);
      console.log(describeInjection(injection), result.reached ? result.outcome : "not reached");
      results.push(result);
    }
  }
  return results;
}

Deno.test({
  name: "a sample of system calls that fail",
  ignore: thorough || chosen !== undefined,
  fn: async () => {
    const seed = newSeed();
    console.log(`MOLT_SEED=${seed}`);
    const results = await sample(new Random(seed));
    assert(results.some(({ reached }) => reached), `MOLT_SEED=${seed}: nothing was reached`);
    assertEquals(formatLosses(results), "", `MOLT_SEED=${seed}`);
  },
});

for (const scenario of scenarios) {
  Deno.test({
    name: `system calls fail: ${scenario.name}`,
    ignore: !(thorough || chosen?.startsWith(`${scenario.name}/`)),
    fn: () => sweep(scenario),
  });
}
