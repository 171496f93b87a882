/**
 * cpr-exec with a successor that takes long: the interim monitor can be asked beside the machine's socket, the
 * limit of its wait changed, and the update cancelled.
 */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { DetachedProcess } from "../support/detached.ts";
import { patience } from "../support/patience.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";

/** More than any test takes. */
const LONG_MS = 600_000;
const HANGS = ["sleep", "600"];

function connect(path: string): Promise<QmpClient> {
  return QmpClient.connect(path, { wait: true, signal: patience() });
}

/** Has the machine execute what never becomes one, and connects to the interim monitor that waits for it. */
async function hang(machine: UpdatedMachine, milliseconds: number): Promise<QmpClient> {
  await machine.vm.qmp.execute("migrate-set-parameters", { "x-successor-timeout": milliseconds });
  await machine.execute(HANGS);
  await machine.vm.qmp.closed;
  return await connect(`${machine.vm.socket}.interim`);
}

/** The guest goes on in the interim monitor, which answers on the machine's own socket. */
async function stayed(machine: UpdatedMachine): Promise<QmpClient> {
  await machine.vm.exited;
  const qmp = await connect(machine.vm.socket);
  assertNotEquals((await qmp.execute("x-query-update")).pid, machine.vm.pid);
  assertEquals((await qmp.execute("query-status")).status, "running");
  await machine.log.beats(2);
  await assertRejects(() => Deno.stat(`${machine.vm.socket}.interim`), Deno.errors.NotFound);
  return qmp;
}

Deno.test("an update is cancelled while its successor is waited for; the next one works", async () => {
  await using machine = await UpdatedMachine.start();
  using waiting = await hang(machine, LONG_MS);
  const { pid } = await waiting.execute("x-query-update");
  await using _interimMonitor = new DetachedProcess(pid);
  const { status, "x-waiting-for": awaited } = await waiting.execute("query-migrate");
  assertEquals([status, awaited], ["active", "the successor"]);
  await assertRejects(
    () => waiting.execute("migrate", { uri: "file:/dev/null" }),
    Error,
    "There's a migration process in progress",
  );
  await machine.log.beats(2);
  await waiting.execute("migrate_cancel");

  using qmp = await stayed(machine);
  assertEquals((await qmp.execute("query-migrate")).status, "cancelled");
  await qmp.execute("migrate-set-parameters", {
    "mode": "cpr-exec",
    "cpr-exec-command": [...machine.vm.command],
  });
  await qmp.execute("migrate", {});
  await qmp.closed;
  using next = await connect(machine.vm.socket);
  const { generation, pid: same } = await next.execute("x-query-update");
  assertEquals([generation, same], [1, pid]);
  await machine.log.beats(2);
});

Deno.test("the limit of the wait is changed while it lasts, up and down", async () => {
  await using machine = await UpdatedMachine.start();
  const SHORT_MS = 3000;
  const begin = performance.now();
  using waiting = await hang(machine, SHORT_MS);
  const { pid } = await waiting.execute("x-query-update");
  await using _interimMonitor = new DetachedProcess(pid);
  const limit = async () =>
    (await waiting.execute("query-migrate-parameters"))["x-successor-timeout"];
  assertEquals(await limit(), SHORT_MS);
  await waiting.execute("migrate-set-parameters", { "x-successor-timeout": LONG_MS });
  while (performance.now() < begin + SHORT_MS + 1000) {
    assertEquals((await waiting.execute("query-migrate")).status, "active");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert(machine.vm.alive, "the successor has not been ended");
  await waiting.execute("migrate-set-parameters", { "x-successor-timeout": 1 });
  using qmp = await stayed(machine);
  const { status, "error-desc": reason = "" } = await qmp.execute("query-migrate");
  assertEquals(status, "failed");
  assertMatch(reason, /^the successor was not ready within 1 ms and has been ended/);
  const { "x-successor-timeout": next } = await qmp.execute("query-migrate-parameters");
  assertEquals(next, 30_000, "of an update that this process begins");
});

Deno.test("quit while the successor is waited for ends the guest, and the successor", async () => {
  await using machine = await UpdatedMachine.start();
  using waiting = await hang(machine, LONG_MS);
  await waiting.execute("quit");
  await machine.vm.exited;
  const signal = patience();
  while (machine.vm.processes.length > 0) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});
