/**
 * System calls of the C library that fail, one at a time, in every situation of a guest's life: the
 * guest lives on, or is stopped in `internal-error` and its monitor answers.
 *
 * Every run has a sample, from a seed that is printed. MOLT_THOROUGH=1 (deno task test:thorough) has each
 * call fail at each of its first ten uses. MOLT_INJECT='cpr-exec/old: pwrite, use 2' repeats what begins so.
 */
import { assert, assertEquals } from "@std/assert";
import { commandOf } from "../support/programs.ts";
import { newSeed, Random } from "../support/random.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { thorough } from "../support/thorough.ts";
import { Interposer } from "./interposer.ts";
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
/** What molt did wrong once, as {@linkcode describeInjection} begins: always in the sample. */
const mended: readonly string[] = [
  // The socket's file and the pid file were left behind.
  "start/molt: lstat, use 1,",
  "start/molt: ftruncate, use 2,",
  // The reply was lost and the client waited for ever.
  "console client/molt: sendmsg, use 1, errno 105",
  // The socket stayed open and the source waited for somebody to accept it.
  "destination/destination: getsockname, use 1,",
];

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

/** What was mended, then one scenario's process after the other in a random order, until the time is over. */
async function sample(random: Random): Promise<Result[]> {
  const places = scenarios.flatMap((scenario) =>
    scenario.processes.map((process) => {
      const name = `${scenario.name}/${process}: `;
      const always = mended.filter((text) => text.startsWith(name));
      return { scenario, process, always, order: always.length > 0 ? 0 : random.word() };
    })
  ).toSorted((a, b) => a.order - b.order);
  const results: Result[] = [];
  const end = performance.now() + SAMPLE;
  for (const { scenario, process, always } of places) {
    if (always.length === 0 && performance.now() > end) break;
    await using subjects = new Subjects(scenario);
    const all = plan(scenario, process, await subjects.count(process));
    const chosen = always.length > 0
      ? all.filter((one) => always.some((text) => describeInjection(one).startsWith(text)))
      : Array.from({ length: SAMPLE_RUN }, () => random.pick(all));
    for (const injection of chosen) {
      if (always.length === 0 && performance.now() > end) break;
      const result = await subjects.inject(injection);
      console.log(describeInjection(injection), result.reached ? result.outcome : "not reached");
      results.push(result);
    }
  }
  return results;
}

Deno.test("every function that the C library calls can be made to fail, or cannot fail", async () => {
  using directory = new TemporaryDirectory();
  using interposer = new Interposer(directory.file("injection"));
  const [program = "", ...args] = commandOf("molt");
  const { env } = interposer;
  const { success } = await new Deno.Command(program, { args: [...args, "-version"], env })
    .output();
  assert(success);
  assertEquals(interposer.processes, 1);
  const unknown = interposer.unknown;
  assertEquals(unknown, undefined, `interpose.c lists '${unknown}' neither as one nor the other`);
});

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
