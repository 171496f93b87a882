/**
 * A machine whose files are descriptors that whoever starts it gives (-add-fd): they stay its own in all of
 * its life, though no successor is given them again.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { killIfThere } from "../support/processes.ts";
import { guestImage } from "../support/programs.ts";
import { runTaskJson } from "../support/script_process.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** The process whose monitor listens at `socket`. */
async function processOf(socket: string): Promise<number> {
  await using client = await QmpClient.connect(socket, { wait: true, signal: patience() });
  return (await client.execute("x-query-update")).pid;
}

Deno.test("files that are given as descriptors stay a machine's over updates that succeed and fail", async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const kernel = directory.file("kernel");
  Deno.copyFileSync(guestImage("heartbeat.elf"), kernel);
  Deno.writeFileSync(directory.file("disk"), new Uint8Array(1 << 20));
  const sets = {
    options: [
      ...["-add-fd", "fd=3,set=1", "-add-fd", "fd=4,set=2,opaque=kernel"],
      ...["-add-fd", "fd=5,set=3", "-add-fd", "fd=6,set=1"],
      ...["-chardev", "file,id=serial0,path=/dev/fdset/1,append=on", "-serial", "chardev:serial0"],
      ...["-chardev", "null,id=quiet,logfile=/dev/fdset/1,logappend=on"],
      ...["-drive", "file=/dev/fdset/3,if=none,id=d0,format=raw"],
      ...["-device", "virtio-blk-device,drive=d0"],
    ],
  };
  const machine = heartbeatMachine(sets, {
    ...{ shared: "memfd", cpus: 1, append: "memory=1 rate=100" },
  }).map((word) => word === guestImage("heartbeat.elf") ? "/dev/fdset/2" : word);
  const redirections = `3>>${log.path} 4<${kernel} 5<>${directory.file("disk")} 6>>${log.path}`;
  await using vm = await VirtualMachine.start("molt", machine, {
    directory,
    connect: false,
    launcher: ["sh", "-c", `exec "$@" ${redirections}`, "sh"],
  });
  await log.beats(2);
  Deno.removeSync(kernel);

  let { pid } = vm;
  const qmp = ["--qmp", vm.socket];
  const shown = async () => {
    await using client = await QmpClient.connect(vm.socket, { wait: true, signal: patience() });
    const sets = await client.executeUntyped("query-fdsets", {});
    return (sets as { "fdset-id": number; fds: { opaque?: string }[] }[])
      .map(({ "fdset-id": id, fds }) => [id, ...fds.map(({ opaque }) => opaque)]);
  };
  const all = [[3, undefined], [2, "kernel"], [1, undefined, undefined]];
  assertEquals(await shown(), all);
  using _last = { [Symbol.dispose]: () => killIfThere(pid) };
  for (const task of ["update:exec", "update:transfer"]) {
    ({ pid = pid } = await runTaskJson(0, task, ...qmp));
    await log.beats(2);
    assertEquals(await shown(), all, task);
  }
  // The guest stays with the interim monitor, and is updated from there.
  await runTaskJson(1, "update:exec", ...qmp, "--", "false");
  pid = await processOf(vm.socket);
  await log.beats(2);
  assertEquals(await shown(), all, "the interim monitor");
  ({ pid = pid } = await runTaskJson(0, "update:exec", ...qmp));
  await log.beats(2);
  assertEquals(await shown(), all);
});

Deno.test("a descriptor that nobody gave is refused where a machine is started, and named", async () => {
  using directory = new TemporaryDirectory();
  const refusal = async (...args: string[]) => {
    await using vm = await VirtualMachine.start("molt", ["-machine", "none", ...args], {
      directory,
      connect: false,
    });
    assertEquals((await vm.exited).code, 1);
    return vm.errorText;
  };
  const cases: [args: string[], text: string][] = [
    [["-add-fd", "fd=47,set=1"], "-add-fd fd=47,set=1: fd is not valid or already in use"],
    [
      ["-serial", "file:/dev/fdset/1"],
      "-serial file:/dev/fdset/1: Could not open '/dev/fdset/1': No such file or directory",
    ],
    [
      ["-chardev", "null,id=c,logfile=/dev/fdset/x"],
      "Could not parse fdset /dev/fdset/x",
    ],
    [
      ["-accel", "kvm,device=/dev/fdset/1"],
      "Could not access KVM kernel module: Failed to find fdset /dev/fdset/1",
    ],
    [
      ["-pidfile", "/dev/fdset/1"],
      "cannot create PID file: '/dev/fdset/1' is a file without a name",
    ],
  ];
  for (const [args, text] of cases) assertStringIncludes(await refusal(...args), text);
});
