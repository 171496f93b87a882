/** What the scripted migrations do with a machine of either program. */
import { assertEquals, assertLess, assertStringIncludes } from "@std/assert";
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
    await log.beats(3);
    return new Scenario({ directory, log, vm }, stack.move());
  }

  /** Where scripts connect to. */
  get qmp(): string[] {
    return ["--qmp", this.vm.socket];
  }

  /** Takes care of a process that a script has started. */
  follow(pid: number | undefined): DetachedProcess {
    if (pid === undefined) throw new Error("the script does not tell who has the guest");
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }
}

/** A program that does not become a machine. */
const misfit = ["--", "sh", "-c", "echo no such luck; exit 3", "-qmp", "unix:/no/where,server=on"];

/** Registers the tests for machines that `vmm` runs. */
export function scriptScenarios(vmm: Vmm): void {
  Deno.test(`update:exec replaces ${vmm} in its process, again and again`, async () => {
    await using scenario = await Scenario.start(vmm, { shared: "memfd" });
    const { vm, qmp } = scenario;
    const files = scenario.files();
    const dry = await runTask("update:exec", ...qmp, "--dry-run");
    assertEquals(dry.status, 0, dry.errorText);
    assertStringIncludes(dry.output, `migrate-set-parameters {"mode":"cpr-exec"`);
    assertStringIncludes(dry.output, `migrate {"uri":"file:`);
    await scenario.checkRunning();

    for (let update = 0; update < 2; update++) {
      const { pid, status } = await runTaskJson(0, "update:exec", ...qmp);
      assertEquals([pid, status], [vm.pid, "running"]);
      await scenario.checkRunning();
    }
    const failed = await runTaskJson(1, "update:exec", ...qmp, "--", "/no/program");
    assertStringIncludes(failed.error ?? "", "/no/program");
    await scenario.checkRunning();
    assertEquals(scenario.files(), files);
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

    for (let update = 0; update < 3; update++) {
      const before = Number(await Deno.readTextFile(pidFile));
      const { pid, status } = await runTaskJson(0, "update:transfer", ...qmp);
      assertEquals(status, "running");
      assertEquals(scenario.follow(pid).alive, true);
      assertEquals(new DetachedProcess(before).alive, false);
      assertEquals(Number(await Deno.readTextFile(pidFile)), pid);
      assertEquals(scenario.files(), files, "the successor has the names, and nothing is left");
      await scenario.checkRunning();
    }
    const failed = await runTaskJson(1, "update:transfer", ...qmp, ...misfit);
    assertStringIncludes(failed.error ?? "", "no such luck");
    assertEquals(scenario.files(), files);
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
    assertEquals(vm.alive, false);
    assertLess(Number(size), 1 << 20, "the memory is not in the file");
    const failed = await runTaskJson(1, "update:reboot", "resume", ...state, ...misfit);
    assertStringIncludes(failed.error ?? "", "no such luck");
    const first = await runTaskJson(0, "update:reboot", "resume", ...state);
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
    const { status } = await runTaskJson(0, "snapshot", "save", ...qmp, ...at);
    assertEquals(status, "running");
    await scenario.checkRunning();

    // The other life prints somewhere else.
    using log = new HeartbeatLog(directory.file("serial.restored"), { inside: true });
    const socket = directory.file("restored.qmp");
    const options = [...heartbeatMachine(log), "-qmp", `unix:${socket},server=on,wait=off`];
    const command = ["--", ...commandOf(vmm), ...options];
    const resting = await runTaskJson(0, "snapshot", "restore", ...at, "--stop", ...command);
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
  });

  Deno.test(`migrate: ${vmm}'s guest moves to a process started for it, and to one that waits`, async () => {
    await using scenario = await Scenario.start(vmm, {});
    const { directory, log, qmp } = scenario;
    const files = scenario.files();
    const dry = await runTask("migrate", ...qmp, "--dry-run");
    assertEquals(dry.status, 0, dry.errorText);
    assertStringIncludes(dry.output, `migrate {"uri":"unix:`);
    const here = await runTaskJson(0, "migrate", ...qmp);
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
    while ((await client.execute("query-migrate")).status !== "active") {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    script.kill("SIGINT");
    const { code, stdout } = await script.output();
    assertEquals([code, JSON.parse(new TextDecoder().decode(stdout)).status], [130, 130]);
    assertEquals((await client.execute("query-migrate")).status, "cancelled");
    await scenario.checkRunning();
  });
}
