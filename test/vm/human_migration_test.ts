/** A person moves a machine from the human monitor: sees how far it is, and may change their mind. */
import { assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const PROMPT = "(qemu) ";

/** A terminal at a monitor. */
class Terminal implements Disposable {
  readonly #connection: Deno.Conn;
  #text = "";

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  static async connect(path: string): Promise<Terminal> {
    const terminal = new Terminal(await Deno.connect({ transport: "unix", path }));
    await terminal.until(PROMPT);
    return terminal;
  }

  async type(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let done = 0; done < bytes.length;) {
      done += await this.#connection.write(bytes.subarray(done));
    }
  }

  /** What is shown up to `end`. */
  async until(end: string | RegExp): Promise<string> {
    const signal = patience();
    const buffer = new Uint8Array(4096);
    for (;;) {
      const found = typeof end === "string"
        ? this.#text.indexOf(end) + end.length
        : this.#text.search(end) + (end.exec(this.#text)?.[0].length ?? 0);
      const there = typeof end === "string" ? this.#text.includes(end) : end.test(this.#text);
      if (there) {
        const shown = this.#text.slice(0, found);
        this.#text = this.#text.slice(found);
        return shown;
      }
      signal.throwIfAborted();
      const count = await this.#connection.read(buffer);
      if (count === null) throw new Error(`the monitor is gone after ${this.#text}`);
      this.#text += new TextDecoder().decode(buffer.subarray(0, count));
    }
  }

  /** Runs a command to its end. Returns what it printed. */
  async run(line: string): Promise<string> {
    await this.type(`${line}\n`);
    const shown = await this.until(PROMPT);
    return shown.slice(shown.indexOf("\r\n") + 2, -PROMPT.length).replaceAll("\r\n", "\n");
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}

Deno.test("migrate shows how far it is, is interrupted from here and from elsewhere, and completes", async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const guest = heartbeatMachine(log, { cpus: 1, append: "memory=16 rate=60 period=20" });
  const monitor = (name: string) => [
    ...["-chardev", `socket,id=hmp0,path=${directory.file(name)},server=on,wait=off`],
    ...["-mon", "chardev=hmp0,mode=readline"],
  ];
  await using source = await VirtualMachine.start("molt", [...guest, ...monitor("source.hmp")], {
    directory,
    name: "source",
  });
  await log.beats(2);
  using terminal = await Terminal.connect(directory.file("source.hmp"));
  const state = `file:${directory.file("state")}`;

  assertEquals(await terminal.run("migrate_set_parameter max-bandwidth 2M"), "");
  await terminal.type(`migrate ${state}\n`);
  const progress =
    /Migration: active, pass 1, (\d+)% of [\d.]+ MiB, [\d.]+ \wi?B\/s, [\d.]+ MiB remaining/;
  const line = await terminal.until(progress);
  assertMatch(line, progress);
  // What is typed ahead waits for its turn.
  await terminal.type("info name\n");
  await terminal.type("\x03");
  assertStringIncludes(await terminal.until(PROMPT), "Migration cancelled\r\n");
  assertStringIncludes(await terminal.until(PROMPT), "info name");
  assertMatch(await terminal.run("info migrate"), /^Status: \t\tcancelled\n/);
  await log.beats(2);

  await terminal.type(`migrate ${state}\n`);
  await terminal.until(progress);
  await source.qmp.execute("migrate_cancel");
  assertStringIncludes(await terminal.until(PROMPT), "Migration cancelled\r\n");
  await log.beats(2);

  // A monitor that cannot be kept waiting goes on, and so does the migration.
  const detached = await source.qmp.execute("human-monitor-command", {
    "command-line": `migrate ${state}`,
  });
  assertMatch(
    String(detached),
    /^terminal does not allow synchronous migration, continuing detached/,
  );
  while ((await source.qmp.execute("query-migrate")).status !== "active");
  const running = await terminal.run("info migrate");
  assertMatch(running, /^Status: \t\tactive\n/);
  assertMatch(running, /^ {2}Transfers: \t\ttransferred=[\d.]+ \w+, remain=[\d.]+ \w+$/m);
  assertEquals(await terminal.run("migrate_cancel"), "");
  while ((await source.qmp.execute("query-migrate")).status !== "cancelled");

  assertMatch(
    await terminal.run("migrate file:/nonexistent/state"),
    /^Error: .*\/nonexistent\/state/,
  );
  assertMatch(await terminal.run("migrate exec:false"), /Migration failed: .+\n$/);
  assertEquals(await terminal.run("migrate_set_parameter max-bandwidth 0"), "");
  assertMatch(
    await terminal.run(`migrate ${state}`),
    /Migration completed: [\d.]+ MiB in [\d.]+ s, the guest was paused for \d+ ms\n$/,
  );
  const { ram } = await source.qmp.execute("query-migrate");
  assertGreater(ram?.mbps ?? 0, 0);
  assertGreater(ram?.["pages-per-second"] ?? 0, 0);
  await source.kill();

  const incoming = [...guest, ...monitor("target.hmp"), "-incoming", "defer"];
  await using target = await VirtualMachine.start("molt", incoming, { directory, name: "target" });
  using other = await Terminal.connect(directory.file("target.hmp"));
  assertEquals(await other.run(`migrate_incoming ${state}`), "");
  await log.beats(2);
  assertEquals((await target.qmp.execute("query-status")).status, "running");
});

Deno.test("capabilities and parameters are shown and set by the human monitor", async () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("hmp");
  const options = ["-machine", "microvm", "-accel", "kvm", "-nodefaults", "-display", "none", "-S"];
  const monitor = ["-monitor", `unix:${path},server=on,wait=off`];
  await using _machine = await VirtualMachine.start("molt", [...options, ...monitor], {
    directory,
  });
  using terminal = await Terminal.connect(path);
  assertEquals(await terminal.run("migrate_set_capability return-path on"), "");
  assertMatch(await terminal.run("info migrate_capabilities"), /^return-path: on$/m);
  assertEquals(await terminal.run("migrate_set_parameter downtime-limit 77"), "");
  assertMatch(await terminal.run("info migrate_parameters"), /^downtime-limit: 77( ms)?$/m);
  assertMatch(
    await terminal.run("migrate_set_capability nonsense on"),
    /^Error: invalid parameter value: nonsense\n/,
  );
  assertMatch(await terminal.run("migrate_set_capability postcopy-ram on"), /^Error: /);
  assertMatch(await terminal.run("migrate_set_parameter multifd-channels 0"), /between 1 and 255/);
  assertMatch(await terminal.run("migrate_continue pre-switchover"), /not in expected state: none/);
});
