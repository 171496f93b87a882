/** QEMU becomes molt and molt becomes QEMU, in one process, under a running guest. */
import { assertEquals, assertLess, assertMatch } from "@std/assert";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { until } from "../support/patience.ts";
import { commandOf } from "../support/programs.ts";
import { mappedMemory } from "../support/processes.ts";
import { STREAM_LIMIT } from "../support/stream_contents.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const ROUNDS = 10;
/** The 64 MiB of guest RAM in one memfd. */
const RAM = /^\S+ \d+ 67108864$/m;

Deno.test(`QEMU -> molt -> QEMU by cpr-exec, ${ROUNDS} rounds: same process, same memory`, async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const options = heartbeatMachine(log, { shared: "memfd" });
  const state = directory.file("state");
  await using vm = await VirtualMachine.start("qemu", options, { directory });
  const qmp = ["-qmp", `unix:${vm.socket},server=on,wait=off`];

  await log.grown();
  const memory = mappedMemory(vm.pid);
  assertMatch(memory.join("\n"), RAM);
  for (let round = 0; round < 2 * ROUNDS; round++) {
    const vmm = round % 2 === 0 ? "molt" : "qemu";
    log.place = `${vmm} after move ${round + 1}`;
    await vm.qmp.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...commandOf(vmm), ...options, ...qmp, "-incoming", `file:${state}`],
    });
    await vm.qmp.execute("migrate", { uri: `file:${state}` });
    await vm.qmp.closed;
    await vm.connect();

    await log.passes();
    const successor = vm.qmp.greeting.version.package;
    assertEquals(successor.startsWith("molt"), vmm === "molt", successor);
    assertEquals((await vm.qmp.execute("query-status")).status, "running");
    assertEquals(mappedMemory(vm.pid), memory, "the same memory");
    assertLess(Deno.statSync(state).size, STREAM_LIMIT, "no memory in the stream");
  }
});

Deno.test("molt -> a script that starts QEMU -> molt, with the first one's interim monitor still on standby", async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const options = heartbeatMachine(log, { shared: "memfd" });
  const state = `file:${directory.file("state")}`;
  await using vm = await VirtualMachine.start("molt", options, { directory });
  const more = [...options, "-qmp", `unix:${vm.socket},server=on,wait=off`, "-incoming", state];
  const update = async (command: readonly string[]) => {
    await vm.qmp.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...command, ...more],
    });
    await vm.qmp.execute("migrate", { uri: state });
    await vm.qmp.closed;
    await vm.connect();
    await log.passes();
    assertEquals((await vm.qmp.execute("query-status")).status, "running");
  };
  await log.grown();
  log.place = "the QEMU that a script has started";
  await update(["sh", "-c", 'exec "$@"', "sh", ...commandOf("qemu")]);
  assertMatch(vm.qmp.greeting.version.package, /^(?!molt)/);
  assertEquals(vm.processes.length, 2, "the interim monitor does not know that nobody will answer");

  // QEMU hands on what it got. The guest of that interim monitor is an old one, and its file another one.
  log.place = "the molt after it";
  await update(commandOf("molt"));
  await until("the interim monitor has ended", () => vm.processes.length === 1);
  const { pauses = [] } = await vm.qmp.execute("x-query-update");
  assertEquals(pauses.length, 1, "the file was loaded");
  await log.passes();
});
