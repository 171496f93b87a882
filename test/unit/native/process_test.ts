import { assertEquals, assertGreater } from "@std/assert";
import { letEngineThreadsWait } from "../../../src/native/process.ts";

const SCHED_OTHER = 0;
const SCHED_BATCH = 3;

/** The scheduling policies of this process's threads: the 41st field of stat (proc_pid_stat(5)). */
function policies(): { name: string; policy: number }[] {
  return [...Deno.readDirSync("/proc/self/task")].map(({ name: id }) => {
    const stat = Deno.readTextFileSync(`/proc/self/task/${id}/stat`);
    const end = stat.lastIndexOf(")");
    const fields = stat.slice(end + 2).split(" ");
    return { name: stat.slice(stat.indexOf("(") + 1, end), policy: Number(fields[41 - 3]) };
  });
}

Deno.test("the engine's threads, and no others, interrupt nobody when they are woken", () => {
  letEngineThreadsWait();
  const threads = policies();
  const engine = threads.filter(({ name }) => name.startsWith("V8 Default"));
  assertGreater(engine.length, 0);
  for (const { policy } of engine) assertEquals(policy, SCHED_BATCH);
  for (const { name, policy } of threads) {
    if (!name.startsWith("V8 Default")) assertEquals(policy, SCHED_OTHER, name);
  }
});
