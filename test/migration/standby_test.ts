/**
 * cpr-exec with a file, and a script of which nobody knows what it starts: the guest's state is in the file,
 * and an interim monitor is on standby with it until a molt answers.
 */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { DetachedProcess } from "../support/detached.ts";
import { patience, until } from "../support/patience.ts";
import { killIfThere } from "../support/processes.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";

/** The first bytes of a stream, and of one whose guest has run on. */
const QEVM = "QEVM";
const VOID = "Void";

function quote(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
}

/** A machine and the file that its state goes to. */
class ScriptedUpdate implements AsyncDisposable {
  readonly machine: UpdatedMachine;
  readonly state: string;

  constructor(machine: UpdatedMachine) {
    this.machine = machine;
    this.state = machine.directory.file("state");
  }

  static async start(
    ...options: Parameters<typeof UpdatedMachine.start>
  ): Promise<ScriptedUpdate> {
    return new ScriptedUpdate(await UpdatedMachine.start(...options));
  }

  get uri(): string {
    return `file:${this.state}`;
  }

  /** What the script says to become the successor. */
  get molt(): string {
    return quote([...this.machine.vm.command, "-incoming", this.uri]);
  }

  /** Writes a script and returns its path. */
  script(...lines: readonly string[]): string {
    const path = this.machine.directory.file("successor");
    Deno.writeTextFileSync(path, ["#!/bin/sh", ...lines, ""].join("\n"), { mode: 0o755 });
    return path;
  }

  /** Has the machine execute such a script. */
  async execute(...lines: readonly string[]): Promise<void> {
    await this.machine.execute([this.script(...lines)], this.uri);
  }

  /** An update by such a script that must succeed. Returns which one since the guest's start it was. */
  async update(...lines: readonly string[]): Promise<number> {
    return await this.machine.update([this.script(...lines)], this.uri);
  }

  set(parameters: { "x-successor-timeout"?: number; "x-interim-monitor"?: "auto" | "on" | "off" }) {
    return this.machine.vm.qmp.execute("migrate-set-parameters", parameters);
  }

  /** The first bytes of the file. */
  get magic(): string {
    return new TextDecoder().decode(Deno.readFileSync(this.state).subarray(0, QEVM.length));
  }

  /** How often the guest was paused: twice if it ran with the interim monitor. */
  async pauses(): Promise<number> {
    return (await this.machine.vm.qmp.execute("x-query-update")).pauses?.length ?? 0;
  }

  /** The interim monitor, as long as it is another process. */
  get others(): number[] {
    const { vm } = this.machine;
    return vm.processes.filter((pid) => pid !== vm.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
  }
}

async function nobodyLeft(update: ScriptedUpdate): Promise<void> {
  await until("no interim monitor is left", () => update.others.length === 0);
}

Deno.test("a script that becomes molt: the guest runs on from when it answers", async () => {
  await using update = await ScriptedUpdate.start();
  for (let time = 1; time <= 3; time++) {
    assertEquals(await update.update(`exec ${update.molt}`), time);
    assertEquals(await update.pauses(), 2);
    assertEquals(update.magic, QEVM, "the file is as a QEMU would leave it");
    await nobodyLeft(update);
  }
  assertEquals((await update.machine.vm.qmp.execute("query-migrate")).status, "completed");
  await update.set({ "x-interim-monitor": "off" });
  assertEquals(await update.update(`exec ${update.molt}`), 4);
  assertEquals(await update.pauses(), 1);
});

Deno.test("a command line for a shell, and any program if x-interim-monitor says so", async () => {
  await using update = await ScriptedUpdate.start();
  const { machine, uri } = update;
  assertEquals(await machine.update(["sh", "-c", `exec ${update.molt}`], uri), 1);
  assertEquals(await update.pauses(), 2);
  const words = ["nice", ...machine.vm.command, "-incoming", uri];
  assertEquals(await machine.update(words, uri), 2);
  assertEquals(await update.pauses(), 1, "nobody knows this program");
  await update.set({ "x-interim-monitor": "on" });
  assertEquals(await machine.update(words, uri), 3);
  assertEquals(await update.pauses(), 2);
});

Deno.test("a script that starts nothing: the file is what is left, and nobody runs the guest", async () => {
  await using update = await ScriptedUpdate.start();
  const { machine } = update;
  await update.execute("sleep 0.5", "exit 3");
  assertEquals((await machine.vm.exited).code, 3);
  await nobodyLeft(update);
  const left =
    /^molt: the successor ended without taking the guest over, whose state is in the file/m;
  await until("that has been said", () => left.test(machine.vm.errorText));
  const beats = machine.log.verify();
  assertEquals(update.magic, QEVM);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assertEquals(machine.log.verify(), beats);
});

Deno.test("a script that starts molt late, before and after the interim monitor has given up", async () => {
  await using update = await ScriptedUpdate.start();
  const { machine } = update;
  assertEquals(await update.update("sleep 1", `exec ${update.molt}`), 1);
  assertEquals(await update.pauses(), 2);

  await update.set({ "x-successor-timeout": 300 });
  const go = machine.directory.file("go");
  await update.execute(`while [ ! -e ${go} ]; do sleep 0.1; done`, `exec ${update.molt}`);
  await machine.vm.qmp.closed;
  // It is a zombie until the successor is a molt again.
  await until("the interim monitor has ended", () => update.others.length === 0);
  const beats = machine.log.verify();
  Deno.writeTextFileSync(go, "");
  await machine.vm.connect();
  await machine.checkRunning();
  assert(machine.log.verify() > beats);
  assertEquals(await update.pauses(), 1, "the file was loaded");
  assertEquals(await update.update(`exec ${update.molt}`), 3);
  assertEquals(await update.pauses(), 2);
});

Deno.test("an interim monitor that is killed on standby: the file is loaded", async () => {
  await using update = await ScriptedUpdate.start();
  const { machine } = update;
  const go = machine.directory.file("go");
  await update.execute(`while [ ! -e ${go} ]; do sleep 0.1; done`, `exec ${update.molt}`);
  await machine.vm.qmp.closed;
  await until("the script waits", () => update.others.length > 0);
  for (const pid of update.others) if (commandOf(pid).includes("main.ts")) killIfThere(pid);
  Deno.writeTextFileSync(go, "");
  await machine.vm.connect();
  await machine.checkRunning();
  assertEquals(await update.pauses(), 1);
});

Deno.test("a molt that answers and ends: the guest stays with its interim monitor, and the file is void", async () => {
  await using update = await ScriptedUpdate.start();
  const { machine } = update;
  // What it waits for is a port that is taken.
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const bad = `${update.molt} -serial tcp:127.0.0.1:${port},server=on,wait=off`;
  const copy = machine.directory.file("copy");
  await update.execute(
    bad,
    `cp ${update.state} ${copy}`,
    `${bad} -incoming file:${copy}`,
    "exit 1",
  );
  await machine.vm.exited;
  using qmp = await QmpClient.connect(machine.vm.socket, { wait: true, signal: patience() });
  const { pid } = await qmp.execute("x-query-update");
  await using _interimMonitor = new DetachedProcess(pid);
  assertNotEquals(pid, machine.vm.pid);
  assertEquals((await qmp.execute("query-status")).status, "running");
  await machine.log.beats(2);
  assertEquals(update.magic, VOID);
  assertMatch(
    (await qmp.execute("query-migrate"))["error-desc"] ?? "",
    /the successor ended without taking the guest over/,
  );
});

Deno.test("a molt that was expected refuses the file if the guest ran on and is gone", async () => {
  await using update = await ScriptedUpdate.start();
  const { machine } = update;
  const pids = machine.directory.file("pids");
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  await update.execute(
    `${update.molt} -serial tcp:127.0.0.1:${port},server=on,wait=off`,
    `while [ ! -s ${pids} ]; do sleep 0.1; done`,
    `kill -9 $(cat ${pids})`,
    "sleep 0.2",
    `exec ${update.molt}`,
  );
  await until("the guest runs in the interim monitor", () => existsVoid(update));
  await machine.log.beats(2);
  const [interim] = update.others.filter((pid) => commandOf(pid).includes("main.ts"));
  Deno.writeTextFileSync(pids, String(interim));
  assertEquals((await machine.vm.exited).code, 1);
  await until("its error has been read", () => machine.vm.errorText.includes("is void"));
  assertMatch(
    machine.vm.errorText,
    /^molt: the state in '.*state' is void: its guest ran on in process \d+, which has ended$/m,
  );
});

Deno.test("a script that cannot be executed leaves the guest where it was, and no interim monitor", async () => {
  await using update = await ScriptedUpdate.start();
  const { machine, uri } = update;
  const script = update.script("exit 0");
  Deno.writeTextFileSync(script, "#!/nonexistent/shell\n");
  assertMatch(await machine.failedUpdate([script], uri), /Could not execute .*No such file/);
  await nobodyLeft(update);
  assertEquals(await update.update(`exec ${update.molt}`), 1);
});

Deno.test("nobody locks the disk's image while the guest is on standby", async () => {
  await using update = await ScriptedUpdate.start(({ directory }) => {
    const image = directory.file("image");
    Deno.writeFileSync(image, new Uint8Array(1 << 20));
    return [
      ...["-drive", `if=none,id=disk0,format=raw,file=${image}`],
      ...["-device", "virtio-blk-device,drive=disk0"],
    ];
  });
  const { machine } = update;
  const { ino } = Deno.statSync(machine.directory.file("image"));
  const locked = () =>
    Deno.readTextFileSync("/proc/locks").split("\n").some((line) => line.includes(`:${ino} `));
  assert(locked(), "by the machine");
  const go = machine.directory.file("go");
  await update.execute(`while [ ! -e ${go} ]; do sleep 0.1; done`, `exec ${update.molt}`);
  await machine.vm.qmp.closed;
  await until("the guest is on standby", () => update.others.some((pid) => isMolt(pid)));
  await until("its image is free", () => !locked());
  Deno.writeTextFileSync(go, "");
  await machine.vm.connect();
  await machine.checkRunning();
  assert(locked(), "by the successor");
});

Deno.test("-incoming defer by a script: the file is loaded when somebody says so", async () => {
  await using update = await ScriptedUpdate.start();
  const { machine, uri } = update;
  await update.execute(`exec ${quote([...machine.vm.command, "-incoming", "defer"])}`);
  await machine.vm.qmp.closed;
  const qmp = await machine.vm.connect();
  assertEquals((await qmp.execute("query-status")).status, "inmigrate");
  await nobodyLeft(update);
  await qmp.execute("migrate-incoming", { uri });
  await machine.checkRunning();
  assertEquals(await update.pauses(), 1);
});

function existsVoid(update: ScriptedUpdate): boolean {
  try {
    return update.magic === VOID;
  } catch {
    return false;
  }
}

function isMolt(pid: number): boolean {
  return commandOf(pid).includes("virtio-blk-device");
}

/** The command line of a process; empty if it has ended. */
function commandOf(pid: number): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`);
  } catch {
    return "";
  }
}
