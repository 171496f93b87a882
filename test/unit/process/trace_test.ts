/** Trace events: which patterns turn them on, and where their lines go. */
import { assertEquals, assertMatch } from "@std/assert";
import { setTraces, setUpTrace, traceEvent, traces } from "../../../src/process/trace.ts";

Deno.test("patterns turn events on and off in their order", () => {
  setTraces(["migration_*"]);
  assertEquals(traces("migration_phase"), true);
  setTraces(["*", "-migration_phase"]);
  assertEquals(traces("migration_phase"), false);
  setTraces(["migration.phase", "qcow2_*"]);
  assertEquals(traces("migration_phase"), false, "a dot is a dot");
});

Deno.test("an event is a line in -D's file, with process and time if messages have them", async () => {
  const path = await Deno.makeTempFile();
  try {
    setTraces(["migration_phase"]);
    setUpTrace({ timestamp: false, file: path });
    traceEvent("migration_phase", "stop time 20 us, bytes 0", 1_700_000_000_000_007);
    setUpTrace({ timestamp: true, file: path });
    traceEvent("migration_phase", "stop time 20 us, bytes 0", 1_700_000_000_000_007);
    const [plain = "", timed = ""] = (await Deno.readTextFile(path)).split("\n");
    assertEquals(plain, "migration_phase stop time 20 us, bytes 0");
    assertMatch(timed, /^[0-9]+@1700000000\.000007:migration_phase stop time 20 us, bytes 0$/);
  } finally {
    setTraces(["-*"]);
    setUpTrace({ timestamp: false, file: undefined });
    await Deno.remove(path);
  }
});
