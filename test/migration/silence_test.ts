/**
 * The other side of a migration stops, or falls silent: the guest is where it was, at once if somebody
 * cancels and after a time if nobody does; and where neither side can know who has it, neither runs it
 * until an operator decides.
 */
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { DetachedProcess } from "../support/detached.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { Relay } from "../support/relay.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { unixChannels } from "../support/transferred_machine.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const returnPath = { capabilities: [{ capability: "return-path", state: true } as const] };

/** A guest that runs, and the places of its migrations. */
class Source implements AsyncDisposable {
  readonly directory = new TemporaryDirectory();
  readonly log = new HeartbeatLog(this.directory.file("serial"));
  readonly #options: readonly string[];
  #vm: VirtualMachine | undefined;

  private constructor(more: readonly string[]) {
    const guest = { cpus: 1, append: "memory=4 rate=20 period=20", shared: "memfd" } as const;
    this.#options = [...heartbeatMachine(this.log, guest), ...more];
  }

  /** `more` are further options of it and its destinations. */
  static async start(more: readonly string[] = []): Promise<Source> {
    const source = new Source(more);
    try {
      const { directory } = source;
      source.#vm = await VirtualMachine.start("molt", source.#options, { directory });
      await source.log.beats(2);
      return source;
    } catch (error) {
      await source[Symbol.asyncDispose]();
      throw error;
    }
  }

  get qmp(): QmpClient {
    if (this.#vm === undefined) throw new Error("there is no machine");
    return this.#vm.qmp;
  }

  /** A machine that waits for the guest at `path`. */
  async destination(path: string): Promise<VirtualMachine> {
    const { directory } = this;
    const options = [...this.#options, "-incoming", "defer"];
    const vm = await VirtualMachine.start("molt", options, { directory, name: "destination" });
    await vm.qmp.execute("migrate-set-parameters", { "x-handover-timeout": 1000 });
    await vm.qmp.execute("migrate-set-capabilities", returnPath);
    await vm.qmp.execute("migrate-incoming", { uri: `unix:${path}`, "exit-on-error": false });
    return vm;
  }

  /** Begins to migrate to a unix socket. */
  async migrate(path: string): Promise<void> {
    await this.qmp.execute("migrate-set-capabilities", returnPath);
    await this.qmp.execute("migrate", { uri: `unix:${path}` });
  }

  /** The guest runs here. */
  async runs(): Promise<void> {
    assertEquals((await this.qmp.execute("query-status")).status, "running");
    await this.log.beats(2);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#vm?.[Symbol.asyncDispose]();
    this.log[Symbol.dispose]();
    this.directory[Symbol.dispose]();
  }
}

/** The latest migration, when it has ended. */
async function ended(qmp: QmpClient) {
  return await when(qmp, ["completed", "failed", "cancelled"]);
}

/** Waits until the migration has one of these statuses. */
async function when(qmp: QmpClient, statuses: readonly string[]) {
  const signal = patience();
  for (;;) {
    const information = await qmp.execute("query-migrate");
    if (statuses.includes(information.status ?? "none")) return information;
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The destination of a cpr-transfer that takes the descriptors and then does nothing more. */
async function stuckTransfer(source: Source, name: string): Promise<Disposable> {
  const { directory, qmp } = source;
  const [main, cpr] = [directory.file(`${name}.main`), directory.file(`${name}.cpr`)];
  const listener = Deno.listen({ transport: "unix", path: main });
  using handover = Deno.listen({ transport: "unix", path: cpr });
  await qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
  await qmp.execute("migrate", { channels: [...unixChannels(main, cpr)] });
  using connection = await handover.accept();
  while (await connection.read(new Uint8Array(4096)) !== null) { /* the CPR state */ }
  return listener;
}

Deno.test("a destination that never accepts the main channel: the guest runs, and cancelling, yank or time end it", async () => {
  await using source = await Source.start();
  {
    using _ = await stuckTransfer(source, "cancelled");
    await source.qmp.execute("migrate_cancel");
    assertEquals((await ended(source.qmp)).status, "cancelled");
    await source.runs();
  }
  {
    using _ = await stuckTransfer(source, "yanked");
    const instances = await source.qmp.execute("query-yank");
    assertEquals(instances.at(-1), { type: "migration" });
    await source.qmp.execute("yank", { instances: [{ type: "migration" }] });
    const { status, "error-desc": reason = "" } = await ended(source.qmp);
    assertEquals(status, "failed");
    assertMatch(reason, /yank/);
    await source.runs();
  }
  {
    await source.qmp.execute("migrate-set-parameters", { "x-handover-timeout": 500 });
    using _ = await stuckTransfer(source, "late");
    const { status, "error-desc": reason = "" } = await ended(source.qmp);
    assertEquals(status, "failed");
    assertMatch(reason, /^the destination has not answered for 500 ms/);
    await source.runs();
  }
});

for (const legacy of ["off", "on"]) {
  Deno.test(`switchover-ack, counted as before QEMU 11.1: ${legacy}`, async () => {
    const options = ["-global", `migration.switchover-ack-legacy=${legacy}`];
    await using source = await Source.start(options);
    const path = source.directory.file("main");
    await using destination = await source.destination(path);
    const capabilities = [{ capability: "switchover-ack", state: true } as const];
    for (const { qmp } of [source, destination]) {
      await qmp.execute("migrate-set-capabilities", {
        capabilities: [...returnPath.capabilities, ...capabilities],
      });
    }
    await source.migrate(path);
    assertEquals((await ended(source.qmp)).status, "completed");
    assertEquals((await when(destination.qmp, ["completed"])).status, "completed");
    assertEquals((await destination.qmp.execute("query-status")).status, "running");
    await source.log.beats(2);
  });
}

Deno.test("COMMIT is lost: neither side runs the guest, and an operator lets it go on at the source", async () => {
  await using source = await Source.start();
  const [from, to] = [source.directory.file("from"), source.directory.file("to")];
  await using destination = await source.destination(to);
  await using _ = new Relay(from, to, "from the source");
  await source.qmp.execute("migrate-set-parameters", { "x-handover-timeout": 1000 });
  await source.migrate(from);

  const { status, "error-desc": reason = "" } = await ended(source.qmp);
  assertEquals(status, "failed");
  assertMatch(reason, /^the destination was given the guest and has not confirmed/);
  assertEquals((await source.qmp.execute("query-status")).status, "postmigrate");
  const there = await ended(destination.qmp);
  assertMatch(there["error-desc"] ?? "", /has not given the guest up|went away before it gave/);
  assertEquals((await destination.qmp.execute("query-status")).status, "paused");

  await destination.quit();
  await source.qmp.execute("cont");
  await source.runs();
});

Deno.test("the answer to COMMIT is lost: the guest runs at the destination, and not at the source", async () => {
  await using source = await Source.start();
  const [from, to] = [source.directory.file("from"), source.directory.file("to")];
  await using destination = await source.destination(to);
  await using _ = new Relay(from, to, "from the destination");
  await source.migrate(from);

  assertEquals((await when(destination.qmp, ["completed"])).status, "completed");
  await source.qmp.execute("migrate_cancel");
  const { status, "error-desc": reason = "" } = await ended(source.qmp);
  assertEquals(status, "failed");
  assertMatch(reason, /it may run there/);
  assertEquals((await source.qmp.execute("query-status")).status, "postmigrate");
  assertEquals((await destination.qmp.execute("query-status")).status, "running");
  await source.log.beats(2);
});

Deno.test("a successor that never gets ready is ended: its guest has a monitor again, and can be updated", async () => {
  await using machine = await UpdatedMachine.start();
  const { vm } = machine;
  await vm.qmp.execute("migrate-set-parameters", { "x-successor-timeout": 2000 });
  await machine.execute(["/bin/sleep", "100000"]);
  // The successor has kept the process id, and was killed.
  assertEquals((await vm.exited).signal, "SIGKILL");

  using qmp = await QmpClient.connect(vm.socket, { wait: true, signal: patience() });
  const { pid } = await qmp.execute("x-query-update");
  await using _ = new DetachedProcess(pid);
  assertNotEquals(pid, vm.pid);
  const { status, "error-desc": reason = "" } = await qmp.execute("query-migrate");
  assertEquals(status, "failed");
  assertMatch(reason, /^the successor was not ready within 2000 ms and has been ended/);
  assertEquals((await qmp.execute("query-status")).status, "running");
  await machine.log.beats(2);

  await qmp.execute("migrate-set-parameters", {
    "mode": "cpr-exec",
    "cpr-exec-command": [...vm.command],
  });
  await qmp.execute("migrate");
  await qmp.closed;
  using updated = await QmpClient.connect(vm.socket, { wait: true, signal: patience() });
  assertEquals((await updated.execute("x-query-update")).pid, pid);
  assertEquals((await updated.execute("query-status")).status, "running");
  await machine.log.beats(2);
});
