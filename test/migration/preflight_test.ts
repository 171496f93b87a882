/** A successor is asked whether it would take the guest, which goes on as if nobody had asked. */
import { assertEquals, assertMatch } from "@std/assert";
import { otherBuild } from "../support/other_build.ts";
import { commandOf } from "../support/programs.ts";
import { runTaskJson } from "../support/script_process.ts";
import { UpdatedMachine } from "../support/updated_machine.ts";

/** A machine that can be asked about its successors. */
class AskedMachine implements AsyncDisposable {
  private constructor(readonly machine: UpdatedMachine) {}

  static async start(): Promise<AskedMachine> {
    return new AskedMachine(
      await UpdatedMachine.start(({ directory }) => {
        const disk = directory.file("disk");
        Deno.writeFileSync(disk, new Uint8Array(1 << 20));
        return [
          ...[
            "-drive",
            `if=none,id=d,file=${disk},format=raw`,
            "-device",
            "virtio-blk-device,drive=d",
          ],
          ...["-device", "virtio-rng-device", "-pidfile", directory.file("pid")],
          ...["-chardev", `socket,id=console,path=${directory.file("console")},server=on,wait=off`],
          ...[
            "-device",
            "virtio-serial-device",
            "-device",
            "virtserialport,chardev=console,name=c",
          ],
        ];
      }),
    );
  }

  /** Asks, and sees that the guest, its processes and its files are as before. */
  async ask(command: readonly string[]) {
    const { vm, directory } = this.machine;
    const seen = () => ({
      files: [...Deno.readDirSync(directory.path)].map(({ name }) => name).sort(),
      pid: Deno.readTextFileSync(directory.file("pid")),
      processes: vm.processes,
    });
    const before = seen();
    const answer = await vm.qmp.execute("x-check-update", { command: [...command] });
    await this.machine.checkRunning();
    assertEquals(seen(), before);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
  }
}

/** The command with the word after `option` changed by `change`. */
function changed(command: readonly string[], option: string, change: (word: string) => string) {
  const at = command.indexOf(option) + 1;
  return command.with(at, change(command[at] ?? ""));
}

Deno.test("a successor that would take the guest says so, also another build; then it does", async () => {
  await using asked = await AskedMachine.start();
  const { machine } = asked;
  const { command } = machine.vm;
  const other = await otherBuild(machine.directory.file("other"));
  const successor = [...other, ...command.slice(other.length)];
  for (let time = 1; time <= 2; time++) {
    for (const program of [command, successor, [...command, "-incoming", "defer"]]) {
      const answer = await asked.ask(program);
      assertEquals(answer.result, "yes", answer.reason);
      assertMatch(answer.program ?? "", /^molt \d+\.\d+\.\d+ build /);
    }
    assertEquals(await machine.update(successor), time);
  }
  // Only a reset needs it.
  const kernel = changed(command, "-kernel", () => machine.directory.file("gone"));
  assertEquals((await asked.ask(kernel)).result, "yes");
  assertEquals(await machine.update(kernel), 3);
});

Deno.test("a successor that would not says why, and the guest can be updated by another", async () => {
  await using asked = await AskedMachine.start();
  const { machine } = asked;
  const { command } = machine.vm;
  const more = (...words: string[]) => [...command, ...words];
  const file = (name: string) => machine.directory.file(name);
  const cases: readonly (readonly [string, readonly string[], RegExp])[] = [
    ["no such program", [file("nothing")], /there is no program '.*nothing' that can be executed/],
    [
      "an unknown option",
      more("-bogus"),
      /ended with status 1, having printed: .*-bogus: invalid option/,
    ],
    [
      "a device less",
      command.filter((word, at) =>
        !word.startsWith("virtio-rng") &&
        !(word === "-device" && command[at + 1]?.startsWith("virtio-rng"))
      ),
      /virtio-rng|virtio-mmio/,
    ],
    [
      "other memory",
      changed(
        changed(command, "-m", () => "128M"),
        "-object",
        (word) => word.replace("64M", "128M"),
      ),
      /has \d+ bytes, this machine needs|Size mismatch/,
    ],
    ["more vCPUs", changed(command, "-smp", () => "3"), /section|cpu/i],
    [
      "a socket in no folder",
      more("-qmp", `unix:${file("gone")}/qmp,server=on,wait=off`),
      /cannot be made at '.*gone\/qmp': No such file/,
    ],
    [
      "a log in no folder",
      more("-D", `${file("gone")}/log`),
      /log file cannot be made at .*No such file/,
    ],
  ];
  for (const [what, program, reason] of cases) {
    const answer = await asked.ask(program);
    assertEquals(answer.result, "no", what);
    assertMatch(answer.reason ?? "", reason, what);
  }
  assertEquals(await machine.update(), 1);
});

Deno.test("update:exec --check and molt check ask, and an update asks first", async () => {
  await using asked = await AskedMachine.start();
  const { machine } = asked;
  const { vm, directory } = machine;
  const { command } = vm;
  const bad = [...command, "-qmp", `unix:${directory.file("gone")}/qmp,server=on,wait=off`];
  // A monitor has one client at a time: the scripts.
  vm.qmp[Symbol.dispose]();
  const qmp = ["--qmp", vm.socket];
  const molt = async (...words: string[]) => {
    const [program = "", ...leading] = commandOf("molt");
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args: [...leading, "check", ...qmp, ...words],
    }).output();
    return { code, text: new TextDecoder().decode(code === 0 ? stdout : stderr) };
  };

  const { check } = await runTaskJson(0, "update:exec", ...qmp, "--check");
  assertEquals(check?.result, "yes");
  assertMatch((await molt()).text, /^yes: molt \d/);
  const refused = await runTaskJson(1, "update:exec", ...qmp, "--check", "--", ...bad);
  assertMatch(refused.error ?? "", /would not take the guest, .*gone\/qmp': No such file/);
  const { code, text } = await molt("--", ...bad);
  assertEquals(code, 1);
  assertMatch(text, /^molt: check: no: .*gone\/qmp': No such file/);
  assertEquals((await molt("/bin/true")).code, 3);

  const update = await runTaskJson(1, "update:exec", ...qmp, "--", ...bad);
  assertMatch(update.error ?? "", /which was not touched/);
  assertEquals((await runTaskJson(0, "update:exec", ...qmp)).pid, vm.pid);
  await vm.connect();
  await machine.checkRunning();
});

Deno.test("a program that may be anything is not started to be asked", async () => {
  await using asked = await AskedMachine.start();
  const { machine } = asked;
  const script = machine.directory.file("script");
  Deno.writeTextFileSync(script, "#!/bin/sh\nkill $PPID\n", { mode: 0o755 });
  for (const command of [[script], ["/bin/true"], ["sh", "-c", "exit 0"]]) {
    const answer = await asked.ask(command);
    assertEquals(answer.result, "unknown", command.join(" "));
    assertMatch(answer.reason ?? "", /is not known to be a molt that can be asked/);
  }
});
