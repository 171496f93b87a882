/** What a machine was started with is known through all of its life, and a start is made sure of before it. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { awaitMigration } from "../../src/qmp_client/mod.ts";
import { Daemon } from "../support/daemon.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { commandOf } from "../support/programs.ts";
import { runTaskJson } from "../support/script_process.ts";
import { unixChannels } from "../support/transferred_machine.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

for (const paths of ["absolute", "relative"] as const) {
  Deno.test(`update after update of a daemon with ${paths} paths, which keeps its names`, async () => {
    await using daemon = await Daemon.start(paths);
    await daemon.check();
    const qmp = ["--qmp", daemon.socket];
    const first = daemon.pid;
    for (
      const task of ["update:exec", "update:transfer", "update:exec", "migrate", "update:exec"]
    ) {
      const before = daemon.pid;
      const { pid } = await runTaskJson(0, task, ...qmp);
      assertEquals(pid, daemon.pid);
      assertEquals(pid === before, task === "update:exec", task);
      await daemon.check();
    }
    assertEquals(daemon.follow(first).alive, false);
    // A successor that ends leaves the guest with the interim monitor, in the same place.
    // Its standard error is /dev/null, and the reason arrives all the same.
    const failing = ["--", "sh", "-c", "echo no such luck >&2; exit 3"];
    const { error } = await runTaskJson(1, "update:exec", ...qmp, ...failing);
    assertStringIncludes(error ?? "", "having printed: no such luck");
    await daemon.check();
    await runTaskJson(0, "update:exec", ...qmp);
    await daemon.check();
    // Who ends takes its names along.
    const last = daemon.follow(daemon.pid);
    await using client = await daemon.connect();
    await client.execute("quit").catch(() => {});
    while (last.alive) await new Promise((resolve) => setTimeout(resolve, 10));
    assertEquals([...Deno.readDirSync(daemon.directory.file("run"))], []);
  });
}

Deno.test("a destination that is a daemon finds memory and log by their relative paths, and leaves the folder then", async () => {
  await using daemon = await Daemon.start("relative", {
    shared: { file: "memory" },
    more: ["-chardev", "null,id=quiet,logfile=quiet.log"],
  });
  const { directory } = daemon;
  await using source = await daemon.connect();
  const { launch } = await source.execute("x-query-update");
  const channels = unixChannels(directory.file("main"), directory.file("cpr"));
  const words = (launch?.command ?? []).map((word) => word.replace(/^(unix:)?run\/\w+/, "$&2"));
  const pid = await daemon.startAnother([
    ...words,
    ...channels.flatMap((channel) => ["-incoming", JSON.stringify(channel)]),
  ], "run/pid2");
  assertEquals(Deno.readLinkSync(`/proc/${pid}/cwd`), directory.path);
  await source.execute("migrate-set-parameters", { mode: "cpr-transfer" });
  await source.execute("migrate", { channels: [...channels] });
  await awaitMigration(source, { signal: patience() });
  await daemon.log.beats(3);

  const { ino } = Deno.statSync(directory.file("memory"));
  const maps = Deno.readTextFileSync(`/proc/${pid}/maps`);
  assertStringIncludes(maps, ` ${ino} `);
  const open = [...Deno.readDirSync(`/proc/${pid}/fd`)]
    .map(({ name }) => readLink(`/proc/${pid}/fd/${name}`));
  assertEquals(open.includes(directory.file("quiet.log")), true);
  while (Deno.readLinkSync(`/proc/${pid}/cwd`) !== "/") {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});

/** Where a link leads; "" if it has been removed meanwhile. */
function readLink(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return "";
  }
}

/** A machine in a folder of its own, which is removed, and the guest's output outside of it. */
class Homeless implements AsyncDisposable {
  readonly directory = new TemporaryDirectory();
  readonly log = new HeartbeatLog(this.directory.file("serial"));
  #vm: VirtualMachine | undefined;

  /** `program`: what is started in place of molt's program. */
  static async start(
    { more = [], program = '"$1"' }: { more?: readonly string[]; program?: string } = {},
  ): Promise<Homeless> {
    await using undo = new AsyncDisposableStack();
    const machine = undo.use(new Homeless());
    const { directory, log } = machine;
    const folder = directory.file("folder");
    Deno.mkdirSync(folder);
    const options = heartbeatMachine(log, {
      ...{ shared: "memfd", cpus: 1, append: "memory=1 rate=100" },
    });
    machine.#vm = await VirtualMachine.start("molt", [...options, ...more], {
      directory,
      launcher: [
        "sh",
        "-c",
        `cd ${folder} && program=${program} && shift && exec $program "$@"`,
        "sh",
      ],
    });
    await log.beats(2);
    Deno.removeSync(folder, { recursive: true });
    undo.move();
    return machine;
  }

  get vm(): VirtualMachine {
    if (this.#vm === undefined) throw new Error("it was not started");
    return this.#vm;
  }

  /** Has it execute itself anew, with the guest's state in `state` meanwhile or with a second process. */
  async update(state: string | undefined, program = commandOf("molt")): Promise<void> {
    const incoming = state === undefined ? [] : ["-incoming", `file:${state}`];
    await this.vm.qmp.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      // Without the shell that enters the folder, and the program that it was given.
      "cpr-exec-command": [
        ...program,
        ...this.vm.command.slice(4 + commandOf("molt").length),
        ...incoming,
      ],
    });
    await this.vm.qmp.execute("migrate", state === undefined ? {} : { uri: `file:${state}` });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#vm?.[Symbol.asyncDispose]();
    this.log[Symbol.dispose]();
    this.directory[Symbol.dispose]();
  }
}

Deno.test("a machine whose folder was removed is updated in the root, if nothing is relative", async () => {
  await using machine = await Homeless.start();
  const { vm, log } = machine;
  for (const state of [undefined, machine.directory.file("state")]) {
    await machine.update(state);
    await vm.qmp.closed;
    const qmp = await vm.connect();
    while ((await qmp.execute("query-status")).status === "inmigrate") {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assertEquals((await qmp.execute("query-status")).status, "running", state);
    assertEquals(Deno.readLinkSync(`/proc/${vm.pid}/cwd`), "/");
    await log.beats(3);
  }
  assertEquals(vm.errorText, "");
});

Deno.test("a machine whose folder was removed is not updated if something is relative to it", async () => {
  await using machine = await Homeless.start({ more: ["-D", "log.txt"] });
  const { vm, log } = machine;
  for (const state of [undefined, machine.directory.file("state")]) {
    const error = await machine.update(state).then(() => "", ({ message }) => message);
    assertMatch(error, /started, '.*\/folder', has been removed, and 'log\.txt' is relative to it/);
    assertEquals((await vm.qmp.execute("query-status")).status, "running");
    await log.beats(3);
  }
  const failed = await runTaskAlone(machine, "update:transfer");
  assertMatch(failed, /the folder in which the machine was started has been removed: .*\/folder/);
  await vm.connect();
  await log.beats(3);
});

/** A script that nothing is changed by, with the only client that the monitor takes. */
async function runTaskAlone({ vm }: Homeless, task: string): Promise<string> {
  vm.qmp[Symbol.dispose]();
  return (await runTaskJson(3, task, "--qmp", vm.socket)).error ?? "";
}

/** Limits at which a machine lives on and no successor starts, and what is said then. */
function tightLimits(pid: number): readonly (readonly [option: string, RegExp])[] {
  const open = [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
  return [
    ["nofile=3", /cannot be started: Could not open .*: Too many open files/],
    [`nofile=${open + 4}`, /limit of open files \(RLIMIT_NOFILE\) is \d+, and it needs \d+/],
  ];
}

Deno.test("a machine without room for a successor is not updated, and says which limit is too low", async () => {
  await using machine = await Homeless.start();
  const { vm, log } = machine;
  for (const [limit, expected] of tightLimits(vm.pid)) {
    const set = async (value: string) => {
      const args = ["--pid", String(vm.pid), `--${value}:`];
      const { success, stderr } = await new Deno.Command("prlimit", { args }).output();
      assertEquals(success, true, new TextDecoder().decode(stderr));
    };
    await set(limit);
    for (const state of [undefined, machine.directory.file("state")]) {
      const error = await machine.update(state).then(() => "", ({ message }) => message);
      assertMatch(error, expected);
      assertEquals((await vm.qmp.execute("query-status")).status, "running");
    }
    await log.beats(3);
    await set("nofile=1024");
  }
});

Deno.test("a program that does not start any more is tried before the guest is stopped for it", async () => {
  const [original = "", ...leading] = commandOf("molt");
  using programs = new TemporaryDirectory();
  const program = programs.file("program");
  Deno.copyFileSync(original, program);
  await using machine = await Homeless.start({ program });
  const { vm, log } = machine;
  Deno.writeTextFileSync(programs.file("new"), "#!/bin/sh\necho no luck >&2\nexit 7\n", {
    mode: 0o755,
  });
  Deno.renameSync(programs.file("new"), program);
  for (const state of [undefined, machine.directory.file("state")]) {
    using stops = vm.qmp.events("STOP");
    await machine.update(state, [program, ...leading]);
    const error = await awaitMigration(vm.qmp, { signal: patience() }).then(
      () => "",
      ({ message }) => message,
    );
    assertStringIncludes(
      error,
      `a successor cannot be started: '${program}' was tried: it ended with status 7, having said: no luck`,
    );
    assertEquals(stops.takeAll(), []);
    await log.beats(3);
  }
});
