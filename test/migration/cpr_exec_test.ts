/** molt replaces itself under a guest by cpr-exec, as often as asked, and keeps it when that fails. */
import { assert, assertEquals, assertMatch, assertNotEquals, equal } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { DetachedProcess } from "../support/detached.ts";
import { patience, until } from "../support/patience.ts";
import { childrenOf, mappedMemory, resources } from "../support/processes.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";

const UPDATES = 100;
/** The runtime keeps some memory for itself as it warms up. */
const GROWTH_LIMIT = 1.25;

/** Waits until no interim monitor is left, and nobody waits for one: they take a moment to end. */
async function noChildren(pid: number): Promise<void> {
  await until("no interim monitor is left", () =>
    childrenOf(pid).length === 0 &&
    !resources(pid).descriptors.some((name) => name.includes("[pidfd]")));
}

/** The interim monitor of a guest whose monitor is gone: it answers on the same socket. */
class InterimMonitor implements AsyncDisposable {
  readonly #process: DetachedProcess;

  private constructor(readonly machine: UpdatedMachine, readonly qmp: QmpClient, pid: number) {
    this.#process = new DetachedProcess(pid);
  }

  static async of(machine: UpdatedMachine): Promise<InterimMonitor> {
    await machine.vm.exited;
    const { socket } = machine.vm;
    const qmp = await QmpClient.connect(socket, { wait: true, signal: patience() });
    const { pid } = await qmp.execute("x-query-update");
    assertNotEquals(pid, machine.vm.pid);
    return new InterimMonitor(machine, qmp, pid);
  }

  get pid(): number {
    return this.#process.pid;
  }

  async checkRunning(): Promise<void> {
    assertEquals((await this.qmp.execute("query-status")).status, "running");
    await this.machine.log.beats(2);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.qmp[Symbol.dispose]();
    await this.#process[Symbol.asyncDispose]();
  }
}

Deno.test(`${UPDATES} updates in a row: same process and memory, no output lost, nothing leaks`, async () => {
  await using machine = await UpdatedMachine.start();
  const memory = mappedMemory(machine.vm.pid);
  // The first ones bring the process into its steady state.
  for (let i = 1; i <= 3; i++) assertEquals(await machine.update(), i);
  await noChildren(machine.vm.pid);
  const before = resources(machine.vm.pid);
  for (let i = 4; i <= UPDATES; i++) assertEquals(await machine.update(), i);
  assertEquals(mappedMemory(machine.vm.pid), memory);
  await noChildren(machine.vm.pid);
  const after = resources(machine.vm.pid);
  assertEquals(after.descriptors, before.descriptors, "the same descriptors are open");
  assert(
    after.residentBytes < before.residentBytes * GROWTH_LIMIT,
    `resident memory went from ${before.residentBytes} to ${after.residentBytes} bytes`,
  );
});

Deno.test("the successor reports the phases of the update in all of its processes", async () => {
  await using machine = await UpdatedMachine.start();
  for (const _ of ["the first update", "one that follows another"]) {
    await machine.update();
    const { pid, phases = [] } = await machine.vm.qmp.execute("x-query-update");
    const there = ["connect", "setup", "answer", "stop", "device", "handover"];
    const here = ["load", "take-over", "resume"];
    const of = (process: number) =>
      phases.filter((record) => record.pid === process).map(({ phase }) => phase);
    assertEquals(of(pid), [...there, ...here], "before and after the execve");
    const [interim = 0, ...more] = new Set(
      phases.map((record) => record.pid).filter((p) => p !== pid),
    );
    assertEquals(more, []);
    assertEquals(of(interim), [...here, ...there], "in the interim monitor");
    for (const { phase, start, time, bytes } of phases) {
      assert(start > 0 && time >= 0 && bytes >= 0, phase);
      if (["setup", "device"].includes(phase)) assert(bytes > 0, `${phase}: ${bytes} bytes`);
    }
  }
});

Deno.test("an update by way of a file works the same, and so does one with a script as its command", async () => {
  await using machine = await UpdatedMachine.start();
  const file = machine.directory.file("state");
  const incoming = ["-incoming", `file:${file}`];
  for (let i = 1; i <= 5; i++) {
    assertEquals(await machine.update([...machine.vm.command, ...incoming], `file:${file}`), i);
  }
  const script = machine.directory.file("successor");
  const words = machine.vm.command.map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  await Deno.writeTextFile(script, `#!/bin/sh\nexec ${words.join(" ")}\n`, { mode: 0o755 });
  assertEquals(await machine.update([script]), 6);
});

Deno.test("a command that cannot be executed leaves the guest where it was; a correct update works then", async () => {
  await using machine = await UpdatedMachine.start();
  const plain = machine.directory.file("plain");
  await Deno.writeTextFile(plain, "no program");
  const before = resources(machine.vm.pid);
  assertMatch(
    await machine.failedUpdate(["/nonexistent/molt"]),
    /Could not execute '\/nonexistent\/molt': No such file or directory/,
  );
  assertMatch(
    await machine.failedUpdate([plain]),
    /Could not execute '.*plain': Permission denied/,
  );
  assertMatch(
    await machine.failedUpdate([machine.directory.file("")]),
    /Could not execute '.*': Permission denied/,
  );
  await noChildren(machine.vm.pid);
  // The descriptor by which the last child was waited for is closed a moment later.
  const left = () => resources(machine.vm.pid).descriptors;
  await until("failed updates leave no descriptor open", () => equal(left(), before.descriptors));
  assertEquals(await machine.update(), 1);
});

Deno.test("a successor that ends at once leaves the guest with its interim monitor, which can be updated", async () => {
  for (const command of [["/bin/true"], ["/bin/sh", "-c", "kill -9 $$"]]) {
    await using machine = await UpdatedMachine.start();
    await machine.execute(command);
    await using interimMonitor = await InterimMonitor.of(machine);
    await interimMonitor.checkRunning();
    const reason =
      /the successor ended without taking the guest over: the guest goes on in process \d+/;
    assertMatch(machine.vm.errorText, reason);
    const migration = await interimMonitor.qmp.execute("query-migrate");
    assertEquals(migration.status, "failed", "of the update, not of how the guest came here");
    assertMatch(migration["error-desc"] ?? "", reason);

    await interimMonitor.qmp.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": [...machine.vm.command],
    });
    await interimMonitor.qmp.execute("migrate", {});
    await interimMonitor.qmp.closed;
    const { socket } = machine.vm;
    using qmp = await QmpClient.connect(socket, { wait: true, signal: patience() });
    await machine.log.beats(2);
    assertEquals((await qmp.execute("x-query-update")).pid, interimMonitor.pid);
    assertEquals((await qmp.execute("query-status")).status, "running");
  }
});

Deno.test("a successor that refuses its command line leaves the guest with its interim monitor", async () => {
  await using machine = await UpdatedMachine.start();
  await machine.execute([...machine.vm.command, "-bogus"]);
  await using interimMonitor = await InterimMonitor.of(machine);
  await interimMonitor.checkRunning();
  assertMatch(machine.vm.errorText, /^molt: -bogus: invalid option$/m);
  const migration = await interimMonitor.qmp.execute("query-migrate");
  assertMatch(
    migration["error-desc"] ?? "",
    /^the successor ended without taking the guest over, having printed: molt: -bogus: invalid option: the guest goes on in process \d+/,
  );
});

Deno.test("an interim monitor that is killed while it has the guest is named, and how it ended", async () => {
  await using machine = await UpdatedMachine.start();
  const script = 'pid=$MOLT_CARETAKER_PROCESS; kill -9 $pid; exec "$@"';
  await machine.execute(["/bin/sh", "-c", script, "sh", ...machine.vm.command]);
  assertEquals((await machine.vm.exited).code, 1);
  await until("its error has been read", () => machine.vm.errorText.endsWith("\n"));
  assertMatch(
    machine.vm.errorText,
    /^molt: the guest is lost: the interim monitor that had it, process \d+, was killed by signal 9$/m,
  );
});

Deno.test("an interim monitor that cannot be started says why, and nothing has happened", async () => {
  await using machine = await UpdatedMachine.start(({ directory }) => {
    const item = directory.file("item");
    Deno.writeTextFileSync(item, "content");
    return ["-fw_cfg", `name=opt/item,file=${item}`];
  });
  const item = machine.directory.file("item");
  Deno.removeSync(item);
  assertMatch(
    await machine.failedUpdate(machine.vm.command),
    /interim monitor.* process \d+ ended with status 1, having printed: molt: .*can't load .*item/,
  );
  Deno.writeTextFileSync(item, "content");
  assertEquals(await machine.update(), 1);
});

Deno.test("an interim monitor keeps its guest though a device of its machine cannot be made again", async () => {
  await using machine = await UpdatedMachine.start(({ directory }) => {
    const lost = directory.file("lost");
    Deno.mkdirSync(lost);
    return ["-chardev", `file,id=gone,path=${lost}/file`];
  });
  Deno.removeSync(machine.directory.file("lost"), { recursive: true });
  await machine.execute(["/bin/true"]);
  await using interimMonitor = await InterimMonitor.of(machine);
  await interimMonitor.checkRunning();
  assertMatch(machine.vm.errorText, /Could not open '.*lost\/file': No such file or directory/);
});

Deno.test("a script that starts the successor as a child has it take the guest over", async () => {
  await using machine = await UpdatedMachine.start();
  const words = machine.vm.command.map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  await machine.execute(["/bin/sh", "-c", `${words.join(" ")}; exit 0`]);
  await machine.vm.qmp.closed;
  await machine.vm.connect();
  const { pid } = await machine.vm.qmp.execute("x-query-update");
  await using _successor = new DetachedProcess(pid);
  await machine.checkRunning();
  assertNotEquals(pid, machine.vm.pid);
  await machine.log.beats(5);
});
