/**
 * A process that has no descriptor left refuses the clients that come, its guest and its monitors live on,
 * and clients are served again when there are descriptors.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** The soft limit of descriptors of another process of the same user. */
async function limitDescriptors(pid: number, limit: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("prlimit", {
    args: ["--pid", String(pid), `--nofile=${limit}`],
  }).output();
  assert(success, new TextDecoder().decode(stderr));
}

/** The lowest number that the process has no descriptor under: it gets none from there on. */
function lowestFree(pid: number): number {
  const used = new Set([...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => Number(name)));
  let free = 0;
  while (used.has(free)) free++;
  return free;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const signal = patience();
  while (!await condition()) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function readSome(connection: Deno.UnixConn): Promise<string | undefined> {
  const buffer = new Uint8Array(4096);
  const count = await connection.read(buffer);
  return count === null ? undefined : new TextDecoder().decode(buffer.subarray(0, count));
}

Deno.test("clients that come when no descriptor is left are refused, and others are served afterwards", async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const path = (name: string) => directory.file(name);
  const listening = (name: string) => `socket,id=${name},path=${path(name)},server=on,wait=off`;
  await using vm = await VirtualMachine.start("molt", [
    ...heartbeatMachine(log, { cpus: 1, append: "memory=16 rate=20 period=50 cpus=1" }),
    ...["-chardev", listening("console"), "-device", "virtio-serial-device"],
    ...["-device", "virtserialport,chardev=console,name=console"],
    ...["-chardev", listening("human"), "-mon", "chardev=human,mode=readline"],
    ...["-chardev", listening("qmp"), "-mon", "chardev=qmp,mode=control"],
    ...["-netdev", `stream,id=net,server=on,addr.type=unix,addr.path=${path("net")}`],
    ...["-device", "virtio-net-device,netdev=net"],
  ], { directory });
  await log.beats(2);

  const kinds = ["console", "human", "qmp", "net"];
  await limitDescriptors(vm.pid, `${lowestFree(vm.pid)}:`);
  for (const kind of [...kinds, ...kinds]) {
    using client = await Deno.connect({ transport: "unix", path: path(kind) });
    assertEquals(await readSome(client), undefined, `${kind}: the client is disconnected`);
  }
  await log.beats(2);
  assertEquals((await vm.qmp.execute("query-status")).status, "running");

  await limitDescriptors(vm.pid, "1000:");
  using human = await Deno.connect({ transport: "unix", path: path("human") });
  assertStringIncludes(await readSome(human) ?? "", "QEMU");
  using qmp = await Deno.connect({ transport: "unix", path: path("qmp") });
  assertStringIncludes(await readSome(qmp) ?? "", "QMP");
  using _console = await Deno.connect({ transport: "unix", path: path("console") });
  using _net = await Deno.connect({ transport: "unix", path: path("net") });
  await until(async () => {
    const chardevs = await vm.qmp.execute("query-chardev");
    const console = chardevs.find(({ label }) => label === "console");
    return console?.filename.startsWith("disconnected") === false;
  });
  await until(async () => {
    const networks = await vm.qmp.execute("human-monitor-command", {
      "command-line": "info network",
    });
    return networks.includes("unix:");
  });
  await log.beats(2);
  assertStringIncludes(vm.errorText, "chardev 'console': clients are refused: Too many open files");
  assertStringIncludes(vm.errorText, "-netdev stream,id=net: clients are refused");
  await vm.quit();
});
