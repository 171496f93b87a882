/** Memory that somebody else can take away: what molt hands out is sealed, what it was given is guarded. */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { Ownership, OWNERSHIP_NAME } from "../../src/migration/cpr/ownership.ts";
import { SystemError } from "../../src/native/errors.ts";
import { openFile, OpenFlags, truncate } from "../../src/native/file.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

async function statusBecomes(vm: VirtualMachine, status: string): Promise<void> {
  const signal = patience();
  while ((await vm.qmp.execute("query-status")).status !== status) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The memfds of a process, by name, with paths that open them. */
function memfdsOf(pid: number): [name: string, path: string][] {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].flatMap(({ name }) => {
    const path = `/proc/${pid}/fd/${name}`;
    try {
      const memfd = /^\/memfd:(.*?)(?: \(deleted\))?$/.exec(Deno.readLinkSync(path));
      return memfd?.[1] === undefined ? [] : [[memfd[1], path]];
    } catch {
      // Closed meanwhile.
      return [];
    }
  });
}

/** The runtime has memfds too. */
const ours = /^(memory-backend-|pc\.bios|rom\/|\/rom|molt)/;

Deno.test("no memory that a live update hands on can be shrunk or grown", async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const argv = heartbeatMachine(log, { shared: "memfd" });
  await using vm = await VirtualMachine.start("molt", argv, { directory });
  const memfds = memfdsOf(vm.pid).filter(([name]) => ours.test(name));
  const names = memfds.map(([name]) => name);
  for (const name of ["memory-backend-memfd", "pc.bios"]) assert(names.includes(name), `${names}`);
  for (const [name, path] of memfds) {
    const { size } = Deno.statSync(path);
    for (const length of [0, size + 4096]) {
      assertTruncateFails(path, length, name);
    }
  }
  assertEquals((await vm.qmp.execute("query-status")).status, "running");
});

function assertTruncateFails(path: string, length: number, name: string): void {
  using file = openFile(path, OpenFlags.readWrite);
  assertThrows(() => truncate(file.fd, length), SystemError, "Operation not permitted", name);
}

Deno.test("the ownership flag cannot be taken away by the process that it is handed to", () => {
  using ownership = Ownership.create();
  const { fd } = ownership.kept(OWNERSHIP_NAME);
  assertTruncateFails(`/proc/self/fd/${fd}`, 0, OWNERSHIP_NAME);
  assertEquals(ownership.keep(), true);
});

Deno.test("a stopped guest whose memory was found cut off does not go on", async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const memory = directory.file("memory");
  const argv = heartbeatMachine(log, { shared: { file: memory } });
  await using vm = await VirtualMachine.start("molt", argv, { directory });
  await vm.qmp.execute("stop");
  Deno.truncateSync(memory, 0);
  await vm.qmp.execute("human-monitor-command", { "command-line": "xp /4wx 0x200000" });
  const signal = patience();
  while (!vm.errorText.includes("the memory 'ram0' has lost")) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await assertRejects(() => vm.qmp.execute("cont"), Error, "Resetting");
  assertEquals((await vm.quit()).code, 0);
});

Deno.test("a guest whose memory file is cut off stops in internal-error, and its monitor lives", async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const memory = directory.file("memory");
  const argv = heartbeatMachine(log, { shared: { file: memory } });
  await using vm = await VirtualMachine.start("molt", argv, { directory });
  assertEquals((await vm.qmp.execute("query-status")).status, "running");
  Deno.truncateSync(memory, 0);
  // The guest may be first to touch it; a monitor touches it too.
  await vm.qmp.execute("human-monitor-command", { "command-line": "xp /4wx 0x200000" });
  await statusBecomes(vm, "internal-error");
  await assertRejects(() => vm.qmp.execute("cont"), Error, "Resetting");
  await assertRejects(
    () => vm.qmp.execute("migrate", { uri: `file:${directory.file("state")}` }),
    Error,
    "the memory 'ram0' has lost what was at 0x",
  );
  assertEquals((await vm.quit()).code, 0);
  assertMatch(
    vm.errorText,
    /the memory 'ram0' has lost what was at 0x[0-9a-f]+: its file was cut off/,
  );
});
