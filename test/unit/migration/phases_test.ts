/** Phases of a migration: noted, shared between processes, and hostile memory. */
import { assertEquals } from "@std/assert";
import { PHASE_LOG_NUMBERS, PhaseLog } from "../../../src/migration/phases.ts";

const memory = () => new Float64Array(PHASE_LOG_NUMBERS);
const summary = (log: PhaseLog) => log.records.map(({ phase, pid, bytes }) => [phase, pid, bytes]);

Deno.test("a phase ends where the next one begins, with the bytes of its own", () => {
  const log = new PhaseLog(memory(), 7);
  log.begin("setup", 0);
  log.begin("precopy", 100);
  log.begin("stop", 5000);
  assertEquals(summary(log), [["setup", 7, 100], ["precopy", 7, 4900]], "stop is under way");
  log.end(5000);
  assertEquals(summary(log).at(-1), ["stop", 7, 0]);
  const [setup, precopy] = log.records;
  assertEquals(setup && precopy && setup.start + setup.time <= precopy.start + 1, true);
  log.clear();
  assertEquals(log.records, []);
});

Deno.test("the processes of an update note their phases at the same time", () => {
  const shared = memory();
  const source = new PhaseLog(shared, 1, 0);
  source.begin("device", 0);
  const destination = new PhaseLog(shared, 2, 1);
  destination.begin("load", 0);
  source.end(10);
  destination.end(10);
  assertEquals(summary(destination), [["device", 1, 10], ["load", 2, 10]]);
});

Deno.test("more phases than there is room for are left out, and nonsense in shared memory is, too", () => {
  const shared = memory();
  const log = new PhaseLog(shared, 1);
  for (let time = 0; time < 200; time++) log.begin("precopy", time);
  assertEquals(log.records.length, 24);
  for (const count of [-1, 0.5, 25, NaN, Infinity]) {
    shared[0] = count;
    assertEquals(log.records, [], `${count} records`);
  }
  shared[0] = 1;
  shared[1] = 99;
  assertEquals(log.records, [], "a phase that this program does not know");
});
