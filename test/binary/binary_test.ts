/**
 * The compiled program: one file that needs no Deno, no sources and no compiler where it runs. It is
 * compiled for real (scripts/compile.sh) and run in an empty root.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { SUCCESSOR_NOTE } from "../../src/migration/cpr/interim/protocol.ts";
import { OpenProgram } from "../../src/process/program_file.ts";
import { HeartbeatCheck } from "../guests/heartbeat.ts";
import { QmpClient } from "../../src/qmp_client/mod.ts";

const root = new URL("../..", import.meta.url).pathname;

/** Compiles molt, with another Deno if COMPILE_DENO names one, and returns the program's path. */
function compile(folder: string): string {
  const program = `${folder}/molt`;
  const result = new Deno.Command("sh", { args: [`${root}scripts/compile.sh`, program] })
    .outputSync();
  assert(result.success, new TextDecoder().decode(result.stderr));
  return program;
}

/** A folder with nothing but what molt needs: itself, libc and its companions, a guest image. */
function makeEmptyRoot(program: string): string {
  const folder = Deno.makeTempDirSync({ prefix: "molt-root-" });
  const copy = (from: string, to: string) => {
    Deno.mkdirSync(`${folder}${to.slice(0, to.lastIndexOf("/"))}`, { recursive: true });
    Deno.copyFileSync(from, `${folder}${to}`);
  };
  copy(program, "/molt");
  copy(`${root}build/guests/heartbeat.elf`, "/heartbeat.elf");
  const listed = new Deno.Command("ldd", { args: [program] }).outputSync();
  for (const [library] of new TextDecoder().decode(listed.stdout).matchAll(/\/\S+/g)) {
    copy(library, library);
  }
  for (const name of ["dev", "proc"]) Deno.mkdirSync(`${folder}/${name}`);
  return folder;
}

/** Runs a shell command line in a mount namespace of its own, where `folder` has /dev and /proc. */
function runInRoot(folder: string, command: readonly string[]): Deno.ChildProcess {
  const script = [
    `mount --bind ${folder} ${folder}`,
    `mount -o remount,bind,ro ${folder}`,
    `mount --rbind /dev ${folder}/dev`,
    `mount -t proc proc ${folder}/proc`,
    `exec chroot ${folder} "$@"`,
  ].join(" && ");
  return new Deno.Command("unshare", {
    args: ["--mount", "--propagation", "private", "sh", "-c", script, "sh", ...command],
    stdin: "null",
    stdout: "piped",
  }).spawn();
}

Deno.test("the compiled program names its version and build", () => {
  const folder = Deno.makeTempDirSync({ prefix: "molt-binary-" });
  try {
    const output = new Deno.Command(compile(folder), { args: ["--version"] }).outputSync();
    assertMatch(
      new TextDecoder().decode(output.stdout),
      /\nmolt \d+\.\d+\.\d+, build [0-9a-f]{10}\+?:/,
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("it carries the note by which another build knows that it takes a guest from an interim monitor", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    using program = OpenProgram.open(compile(folder));
    assert(program?.isElf);
    assert(await program?.carries(SUCCESSOR_NOTE));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("alone in an empty read-only root it runs a guest and replaces itself by another build, also under its own name", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "molt-binary-" });
  const emptyRoot = makeEmptyRoot(compile(folder));
  // A second build at another path: what an update replaces the first one by.
  Deno.copyFileSync(`${emptyRoot}/molt`, `${emptyRoot}/molt-new`);
  const machine = [
    ...["-M", "microvm,memory-backend=ram0,aux-ram-share=on", "-accel", "kvm"],
    ...["-object", "memory-backend-memfd,id=ram0,size=256M,share=on", "-m", "256M", "-smp", "2"],
    ...["-kernel", "/heartbeat.elf", "-append", "memory=16 rate=50"],
    ...["-nodefaults", "-display", "none", "-serial", "stdio"],
    ...["-qmp", "tcp:127.0.0.1:47811,server=on,wait=off"],
  ];
  const child = runInRoot(emptyRoot, ["/molt", ...machine]);
  const check = new HeartbeatCheck();
  try {
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const piece of child.stdout) check.feed(decoder.decode(piece, { stream: true }));
    })();
    let ended = false;
    void child.status.then(() => ended = true);
    const beats = async (count: number) => {
      const wanted = check.beats + count;
      while (check.beats < wanted) {
        assert(!ended, "molt ended");
        await new Promise((done) => setTimeout(done, 20));
      }
    };
    const connect = () =>
      QmpClient.connect("127.0.0.1:47811", { wait: true, signal: AbortSignal.timeout(20_000) });
    await beats(5);
    for (const [update, program] of ["/molt-new", "/molt", "/molt"].entries()) {
      if (update === 2) {
        // As people deploy one file: the running program's own is replaced.
        Deno.renameSync(`${emptyRoot}/molt-new`, `${emptyRoot}/molt`);
      }
      {
        await using qmp = await connect();
        await qmp.execute("migrate-set-parameters", {
          "mode": "cpr-exec",
          "cpr-exec-command": [program, ...machine],
        });
        await qmp.executeUntyped("migrate");
        await qmp.closed;
      }
      await using qmp = await connect();
      const { generation } = await qmp.executeUntyped("x-query-update") as { generation: number };
      assertEquals(generation, update + 1);
      await beats(5);
    }
    await using qmp = await connect();
    await qmp.execute("quit");
    assertEquals((await child.status).code, 0);
    await reading;
    assertEquals(check.problems, []);
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    Deno.removeSync(emptyRoot, { recursive: true });
    Deno.removeSync(folder, { recursive: true });
  }
});
