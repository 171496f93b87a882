/**
 * cpr-exec with a `uri`, and a successor that is known to ask an interim monitor for the guest: it runs on
 * while the successor starts. To a client it is what QEMU does.
 */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { DetachedProcess } from "../support/detached.ts";
import { otherBuild } from "../support/other_build.ts";
import { patience } from "../support/patience.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";
import { QmpClient } from "../../src/qmp_client/mod.ts";

/** The guest looks at its clock all the time: a gap is never its own. */
const SPINNING = { cpus: 1, append: "memory=16 rate=20 spin=1 period=20" };
/** The magic number of a migration stream. */
const QEVM = "QEVM";

function uriOf(machine: UpdatedMachine): string {
  return `file:${machine.directory.file("state")}`;
}

/** The command of the running machine, or the same of `program`, as clients give it with a `uri`. */
function commandWith(machine: UpdatedMachine, program: readonly string[] = []): string[] {
  const { command } = machine.vm;
  const first = command.findIndex((word) => word.startsWith("-machine"));
  const words = program.length === 0 ? command : [...program, ...command.slice(first)];
  return [...words, "-incoming", uriOf(machine)];
}

/** How often the guest was paused by the latest update: once if it was for all of the successor's start. */
async function pauses(machine: UpdatedMachine): Promise<number> {
  const { pauses = [] } = await machine.vm.qmp.execute("x-query-update");
  return pauses.length;
}

async function useInterimMonitor(machine: UpdatedMachine, use: "auto" | "on" | "off") {
  await machine.vm.qmp.execute("migrate-set-parameters", { "x-interim-monitor": use });
}

Deno.test("with a uri the guest does not wait for the successor's start", async () => {
  await using machine = await UpdatedMachine.start(undefined, SPINNING);
  const command = commandWith(machine);
  /** The least that the guest noticed of an update, in ns, and that the monitor says, in us. */
  const gaps = { auto: Infinity, off: Infinity };
  const paused = { auto: Infinity, off: Infinity };
  for (const use of ["auto", "off", "auto", "off", "auto", "auto"] as const) {
    machine.log.place = `an update with x-interim-monitor=${use}`;
    await machine.log.beats(2);
    machine.log.takeLongestGap();
    await useInterimMonitor(machine, use);
    await machine.update(command, uriOf(machine));
    await machine.log.beats(2);
    const { pauses = [] } = await machine.vm.qmp.execute("x-query-update");
    assertEquals(pauses.length, use === "auto" ? 2 : 1);
    paused[use] = Math.min(paused[use], pauses.reduce((sum, time) => sum + time));
    gaps[use] = Math.min(gaps[use], machine.log.takeLongestGap());
  }
  assertLess(paused.auto, paused.off / 2);
  // A busy host takes the guest's processor away, too.
  assertLess(gaps.auto, gaps.off);
});

Deno.test("a client sees what it sees of QEMU: the file, the status, a command line without -incoming", async () => {
  await using machine = await UpdatedMachine.start();
  const { vm } = machine;
  const { qmp } = vm;
  await qmp.execute("migrate-set-capabilities", {
    capabilities: [{ capability: "events", state: true }],
  });
  const events = qmp.events("MIGRATION");
  assertEquals(await machine.update(commandWith(machine), uriOf(machine)), 1);
  // The connection has ended, and with it the events.
  const seen = (await Array.fromAsync(events)).map(({ data }) => data.status);
  assertEquals(seen, ["setup", "active", "device", "completed"]);
  assertEquals(await pauses(machine), 2);
  assertEquals((await vm.qmp.execute("query-migrate")).status, "completed");
  const content = await Deno.readFile(machine.directory.file("state"));
  assertEquals(new TextDecoder().decode(content.subarray(0, QEVM.length)), QEVM);
  const words = (await Deno.readTextFile(`/proc/${vm.pid}/cmdline`)).split("\0");
  assert(!words.includes("-incoming"), String(words));
  const { launch } = await vm.qmp.execute("x-query-update");
  assert(!launch?.command.includes("-incoming"));
});

Deno.test("another build takes the guest over in the same way, also one that has taken this one's place", async () => {
  await using machine = await UpdatedMachine.start();
  const folder = machine.directory.file("builds");
  const other = await otherBuild(`${folder}/other`);
  assertEquals(await machine.update(commandWith(machine, other), uriOf(machine)), 1);
  assertEquals(await pauses(machine), 2, "from the first build");

  // As a package manager does it: the new file gets the name of the one that runs.
  const path = other.at(-1) ?? "";
  await Deno.copyFile(path, `${path}.new`);
  await Deno.rename(`${path}.new`, path);
  assertEquals(await machine.update(commandWith(machine, other), uriOf(machine)), 2);
  assertEquals(await pauses(machine), 2, "from a file that is not there any more");
  assertEquals(await machine.update(commandWith(machine), uriOf(machine)), 3);
  assertEquals(await pauses(machine), 2, "back to the first build");
});

Deno.test("the uri may be a program's", async () => {
  await using machine = await UpdatedMachine.start();
  const state = machine.directory.file("state");
  const command = [...machine.vm.command, "-incoming", `exec:cat ${state}`];
  assertEquals(await machine.update(command, `exec:cat > ${state}`), 1);
  assertEquals(await pauses(machine), 2);
  assert(Deno.statSync(state).size > 0);
});

Deno.test("a state that cannot be written brings the guest back", async () => {
  await using machine = await UpdatedMachine.start();
  const reason = await machine.failedUpdate(commandWith(machine), "exec:exit 3");
  assertMatch(reason, /exit 3|status 3/);
  // The guest was stopped for the interim monitor already, and for nobody else.
  assertEquals(await machine.update(commandWith(machine), uriOf(machine)), 1);
});

Deno.test("a successor that refuses its command line leaves the guest with its interim monitor", async () => {
  await using machine = await UpdatedMachine.start();
  await machine.execute([...commandWith(machine), "-bogus"], uriOf(machine));
  await machine.vm.exited;
  using qmp = await QmpClient.connect(machine.vm.socket, { wait: true, signal: patience() });
  const { pid } = await qmp.execute("x-query-update");
  await using _interimMonitor = new DetachedProcess(pid);
  assertMatch((await qmp.execute("query-migrate"))["error-desc"] ?? "", /-bogus: invalid option/);
  await machine.log.beats(2);
});

Deno.test("a successor with -incoming defer, or that waits for migrate-continue, goes QEMU's way", async () => {
  await using machine = await UpdatedMachine.start();
  const { vm } = machine;
  const command = [...vm.command, "-incoming", "defer"];
  await machine.execute(command, uriOf(machine));
  await vm.qmp.closed;
  await vm.connect();
  assertEquals((await vm.qmp.execute("query-status")).status, "inmigrate");
  await vm.qmp.execute("migrate-incoming", { uri: uriOf(machine) });
  await machine.checkRunning();
  assertEquals(await pauses(machine), 1);
});
