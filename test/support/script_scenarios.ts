/** What the scripted migrations do with a machine of either program. */
import {
  assertEquals,
  assertGreater,
  assertLess,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { DetachedProcess } from "./detached.ts";
import { HeartbeatLog } from "./heartbeat_log.ts";
import { heartbeatMachine, type HeartbeatMachineOptions } from "./heartbeat_machine.ts";
import { patience } from "./patience.ts";
import { commandOf, type Vmm } from "./programs.ts";
import { runTask, runTaskJson, startScript } from "./script_process.ts";
import { TemporaryDirectory } from "./temporary_directory.ts";
import { VirtualMachine } from "./virtual_machine.ts";

/** A guest that lives, the directory with its files, and the processes that follow its first. */
class Scenario implements AsyncDisposable {
  readonly directory: TemporaryDirectory;
  readonly log: HeartbeatLog;
  readonly vm: VirtualMachine;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: { directory: TemporaryDirectory; log: HeartbeatLog; vm: VirtualMachine },
    stack: AsyncDisposableStack,
  ) {
    this.directory = parts.directory;
    this.log = parts.log;
    this.vm = parts.vm;
    this.#stack = stack;
  }

  /** Starts the guest in a machine of its own or with `extra` options. */
  static async start(
    vmm: Vmm,
    machine: HeartbeatMachineOptions,
    extra: (directory: TemporaryDirectory) => string[] = () => [],
  ): Promise<Scenario> {
    await using stack = new AsyncDisposableStack();
    const directory = stack.use(new TemporaryDirectory());
    const log = stack.use(new HeartbeatLog(directory.file("serial")));
    const options = [
      ...heartbeatMachine(log, machine),
      ...["-pidfile", directory.file("machine.pid")],
      ...extra(directory),
    ];
    const vm = stack.use(await VirtualMachine.start(vmm, options, { directory, name: "machine" }));
    // A monitor has one client at a time: the scripts.
    vm.qmp[Symbol.dispose]();
    await (vmm === "qemu" ? log.grown() : log.beats(3));
    return new Scenario({ directory, log, vm }, stack.move());
  }

  /** Where scripts connect to. */
  get qmp(): string[] {
    return ["--qmp", this.vm.socket];
  }

  /** Takes care of a process that a script has started. */
  follow(pid: number | undefined): DetachedProcess {
    if (pid === undefined) throw new Error("the script does not say who has the guest");
    return this.#stack.use(new DetachedProcess(pid));
  }

  /** The names of all files. */
  files(): string[] {
    return [...Deno.readDirSync(this.directory.path)].map(({ name }) => name).toSorted();
  }

  /** Checks that the guest runs where clients look for it. */
  async checkRunning(): Promise<void> {
    await this.log.beats(3);
    await using client = await QmpClient.connect(this.vm.socket, { signal: patience() });
    assertEquals((await client.execute("query-status")).status, "running");
  }

  /** Executes a command of the monitor that scripts use. */
  async execute(command: "stop" | "cont"): Promise<void> {
    await using client = await QmpClient.connect(this.vm.socket, { signal: patience() });
    await client.execute(command);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }
}

/** A program that does not become a machine. */
const misfit = ["--", "sh", "-c", "echo no such luck; exit 3", "-qmp", "unix:/no/where,server=on"];

/** A program that does nothing, for longer than anybody waits. */
const sluggish = ["--", "sh", "-c", "sleep 60; true", "-qmp", "unix:/no/where,server=on"];

/** Waits until something is so. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const signal = patience();
  while (!await condition()) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The number that a file has, if it has one. */
function readNumber(path: string): number | undefined {
  try {
    return Number(Deno.readTextFileSync(path)) || undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Registers the tests for machines that `vmm` runs. */
export function scriptScenarios(vmm: Vmm): void {
  Deno.test(`update:exec replaces ${vmm} in its process, again and again`, async () => {
    await using scenario = await Scenario.start(vmm, { shared: "memfd" });
    const { directory, vm, qmp } = scenario;
    const files = scenario.files();
    const dry = await runTask("update:exec", ...qmp, "--dry-run");
    assertEquals(dry.status, 0, dry.errorText);
    assertStringIncludes(dry.output, `migrate-set-parameters {"mode":"cpr-exec"`);
    assertStringIncludes(dry.output, vmm === "molt" ? "migrate {}" : `migrate {"uri":"file:`);
    await scenario.checkRunning();

    const options = [[], ["--state", directory.file("state"), "--timeout", "60"]];
    for (const more of options) {
      const { pid, status, pause, before, program } = await runTaskJson(
        0,
        "update:exec",
        ...[...qmp, ...more],
      );
      assertEquals([pid, status], [vm.pid, "running"]);
      const build = vmm === "molt" ? /^molt \d+\.\d+\.\d+ build \S+$/ : /^QEMU \d+/;
      for (const name of [before, program]) assertMatch(name ?? "", build);
      assertGreater(pause ?? 0, 0);
      await scenario.checkRunning();
    }
    const failed = await runTaskJson(1, "update:exec", ...qmp, "--", "/no/program");
    assertStringIncludes(failed.error ?? "", "/no/program");
    await scenario.checkRunning();
    assertEquals(scenario.files(), files);
    if (vmm === "qemu") return;
    const command = ["--", "sh", "-c", "echo no such luck >&2; exit 3"];
    const ended = await runTaskJson(1, "update:exec", ...qmp, ...command);
    assertStringIncludes(ended.error ?? "", `the guest is running in process ${ended.pid}`);
    assertStringIncludes(ended.error ?? "", "having printed: no such luck");
    scenario.follow(ended.pid);
    await scenario.checkRunning();
  });

  Deno.test(`update:transfer hands a guest from ${vmm} to ${vmm}, which takes its place`, async () => {
    await using scenario = await Scenario.start(vmm, { shared: "memfd" });
    const { qmp } = scenario;
    const files = scenario.files();
    const pidFile = scenario.directory.file("machine.pid");
    const dry = await runTask("update:transfer", ...qmp, "--dry-run");
    assertEquals(dry.status, 0, dry.errorText);
    assertStringIncludes(dry.output, `"channel-type":"cpr"`);
    await scenario.checkRunning();

    const said = scenario.directory.file("said");
    files.push("said");
    files.sort();
    const options = [
      ["--log", said, "--timeout", "60"],
      ["--log", said, "--successor-qmp", `unix:${scenario.vm.socket}.next`],
      ["--log", said],
    ];
    for (const more of options) {
      const before = Number(await Deno.readTextFile(pidFile));
      const { pid, status } = await runTaskJson(0, "update:transfer", ...qmp, ...more);
      assertEquals(status, "running");
      assertEquals(scenario.follow(pid).alive, true);
      assertEquals(new DetachedProcess(before).alive, false);
      assertEquals(Number(await Deno.readTextFile(pidFile)), pid);
      assertEquals(scenario.files(), files, "the successor has the names, and nothing is left");
      await scenario.checkRunning();
    }
    const failed = await runTaskJson(1, "update:transfer", ...qmp, ...misfit);
    assertStringIncludes(failed.error ?? "", "no such luck");
    const late = await runTaskJson(1, "update:transfer", ...qmp, "--timeout", "1", ...sluggish);
    assertStringIncludes(late.error ?? "", "does not answer for 1 s");
    assertEquals(scenario.files(), files);
    await scenario.checkRunning();
  });

  Deno.test(`Ctrl-C while a successor of ${vmm} starts leaves nothing behind`, async () => {
    await using scenario = await Scenario.start(vmm, { shared: "memfd" });
    const { qmp } = scenario;
    const files = scenario.files();
    const started = scenario.directory.file("started");
    const command = [
      "--",
      "sh",
      "-c",
      `echo $$ >${started}; sleep 60; true`,
      ...sluggish.slice(-2),
    ];
    const script = startScript("update_transfer.ts", ...qmp, "--json", ...command);
    await until(() => readNumber(started) !== undefined);
    const successor = new DetachedProcess(readNumber(started) ?? 0);
    script.kill("SIGINT");
    const { code, stdout } = await script.output();
    assertEquals([code, JSON.parse(new TextDecoder().decode(stdout)).error], [130, "interrupted"]);
    assertEquals(successor.alive, false);
    Deno.removeSync(started);
    assertEquals(scenario.files(), files);
    await scenario.checkRunning();
  });

  Deno.test(`a paused guest of ${vmm} stays so, whatever happens to its process`, async () => {
    await using scenario = await Scenario.start(vmm, { shared: "memfd" });
    const { qmp, vm } = scenario;
    await scenario.execute("stop");
    const beats = scenario.log.verify();
    for (const task of ["update:exec", "update:transfer", "migrate"]) {
      const { pid, status, pause } = await runTaskJson(0, task, ...qmp);
      if (pid !== vm.pid) scenario.follow(pid);
      assertEquals([status, pause], ["paused", undefined], task);
      // QEMU saves a wrong clock of a machine that it has loaded and not let run.
      if (vmm === "qemu") {
        await scenario.execute("cont");
        await scenario.execute("stop");
      }
    }
    if (vmm === "molt") assertEquals(scenario.log.verify(), beats);
    await scenario.execute("cont");
    await scenario.log.beats(3);
  });

  Deno.test(`memory that is not shared keeps a guest of ${vmm} where it is`, async () => {
    await using scenario = await Scenario.start(vmm, {});
    const exec = await runTaskJson(3, "update:exec", ...scenario.qmp);
    assertStringIncludes(exec.error ?? "", "memory 'microvm.ram' belongs to its process alone");
    const transfer = await runTaskJson(3, "update:transfer", ...scenario.qmp);
    assertStringIncludes(transfer.error ?? "", "memory 'microvm.ram' belongs to its process alone");
    await scenario.checkRunning();
  });

  Deno.test(`update:reboot: ${vmm}'s guest rests in files while no process has it`, async () => {
    using shm = new TemporaryDirectory("/dev/shm");
    const memory = shm.file("ram");
    await using scenario = await Scenario.start(vmm, { shared: { file: memory } });
    const { vm, qmp } = scenario;
    const state = ["--state", scenario.directory.file("state")];
    const dry = await runTask("update:reboot", ...qmp, ...state, "--dry-run");
    assertEquals(dry.status, 0, dry.errorText);
    assertStringIncludes(dry.output, `"capability":"x-ignore-shared"`);
    await scenario.checkRunning();

    const { size } = await runTaskJson(0, "update:reboot", "save", ...qmp, ...state);
    await vm.exited;
    assertLess(Number(size), 1 << 20, "the memory is not in the file");
    const failed = await runTaskJson(1, "update:reboot", "resume", ...state, ...misfit);
    assertStringIncludes(failed.error ?? "", "no such luck");
    const more = ["--log", "/dev/null", "--timeout", "60", ...qmp];
    const first = await runTaskJson(0, "update:reboot", "resume", ...state, ...more);
    scenario.follow(first.pid);
    await scenario.checkRunning();

    const second = await runTaskJson(0, "update:reboot", ...qmp, ...state);
    scenario.follow(second.pid);
    await scenario.checkRunning();
    assertEquals(scenario.files(), ["machine.pid", "machine.qmp", "serial"]);
  });

  Deno.test(`snapshot: ${vmm}'s guest goes on from its file while it goes on itself`, async () => {
    await using scenario = await Scenario.start(vmm, {});
    const { directory, qmp } = scenario;
    const file = directory.file("snapshot");
    const at = ["--file", file, "--channels", "3", "--direct-io"];
    const dry = await runTask("snapshot", "save", ...qmp, ...at, "--dry-run");
    assertEquals(dry.status, 0, dry.errorText);
    assertStringIncludes(dry.output, `"capability":"mapped-ram"`);
    const plain = ["--file", directory.file("plain"), "--channels", "0"];
    for (const how of [plain, at]) {
      const { status } = await runTaskJson(0, "snapshot", "save", ...qmp, ...how);
      assertEquals(status, "running");
      await scenario.checkRunning();
    }

    // The other life prints somewhere else.
    using log = new HeartbeatLog(directory.file("serial.restored"), { inside: true });
    const socket = directory.file("restored.qmp");
    const options = [...heartbeatMachine(log), "-qmp", `unix:${socket},server=on,wait=off`];
    const command = ["--log", "/dev/null", "--timeout", "60", "--", ...commandOf(vmm), ...options];
    const resting = await runTaskJson(0, "snapshot", "restore", ...plain, "--stop", ...command);
    const process = scenario.follow(resting.pid);
    assertEquals(resting.status, "paused");
    const busy = await runTaskJson(3, "snapshot", "restore", ...at, ...command);
    assertStringIncludes(busy.error ?? "", `a machine is there already: ${socket}`);
    await process[Symbol.asyncDispose]();
    const restored = await runTaskJson(0, "snapshot", "restore", ...at, ...command);
    scenario.follow(restored.pid);
    assertEquals(restored.status, "running");
    await log.beats(3);
    await scenario.checkRunning();

    const last = await runTaskJson(0, "snapshot", "save", ...qmp, ...at, "--stop");
    assertEquals(last.status, "postmigrate");
    const again = await runTaskJson(3, "snapshot", "save", ...qmp, ...at);
    assertStringIncludes(again.error ?? "", "the machine is in state 'postmigrate'");
  });

  Deno.test(`migrate: ${vmm}'s guest moves to a process started for it, and to one that waits`, async () => {
    await using scenario = await Scenario.start(vmm, {});
    const { directory, log, qmp } = scenario;
    const files = scenario.files();
    const dry = await runTask("migrate", ...qmp, "--dry-run");
    assertEquals(dry.status, 0, dry.errorText);
    assertStringIncludes(dry.output, `migrate {"uri":"unix:`);
    const slowly = [
      "--bandwidth",
      "100",
      "--downtime",
      "200",
      "--auto-converge",
      "--timeout",
      "60",
    ];
    const here = await runTaskJson(0, "migrate", ...qmp, ...slowly, "--log", "/dev/null");
    scenario.follow(here.pid);
    assertEquals(scenario.files(), files, "it has the names, and nothing is left");
    await scenario.checkRunning();

    const refused = await runTaskJson(1, "migrate", ...qmp, "--to", "tcp:127.0.0.1:1");
    assertStringIncludes(refused.error ?? "", "Connection refused");
    await scenario.checkRunning();

    const waiting = [...heartbeatMachine(log), "-incoming", "defer"];
    await using there = await VirtualMachine.start(vmm, waiting, { directory, name: "there" });
    there.qmp[Symbol.dispose]();
    const to = ["--to", "tcp:127.0.0.1:0", "--destination-qmp", there.socket];
    const { status } = await runTaskJson(0, "migrate", ...qmp, ...to, "--channels", "2");
    assertEquals(status, "running");
    await log.beats(3);
    const gone = await runTaskJson(3, "migrate", ...qmp, "--to", "tcp:127.0.0.1:1");
    assertStringIncludes(gone.error ?? "", "cannot connect");
  });

  Deno.test(`Ctrl-C cancels a move, and ${vmm}'s guest runs on`, async () => {
    const second = (directory: TemporaryDirectory) => directory.file("second.qmp");
    await using scenario = await Scenario.start(
      vmm,
      {},
      (directory) => ["-qmp", `unix:${second(directory)},server=on,wait=off`],
    );
    const { directory, log, qmp } = scenario;
    const options = [...heartbeatMachine(log), "-incoming", `unix:${directory.file("main")}`];
    await using _ = await VirtualMachine.start(vmm, options, { directory, name: "there" });
    await using client = await QmpClient.connect(second(directory), { signal: patience() });

    const to = ["--to", `unix:${directory.file("main")}`];
    const script = startScript("migrate.ts", ...qmp, ...to, "--bandwidth", "1", "--json");
    await until(async () => (await client.execute("query-migrate")).status === "active");
    script.kill("SIGINT");
    const { code, stdout } = await script.output();
    assertEquals([code, JSON.parse(new TextDecoder().decode(stdout)).exitStatus], [130, 130]);
    assertEquals((await client.execute("query-migrate")).status, "cancelled");
    await scenario.checkRunning();
  });
}
