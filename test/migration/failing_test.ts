/** What a migration writes to fails in all ways: the reason says what and where, and the guest goes on. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  awaitMigration,
  type MigrationCapability,
  MigrationFailedError,
} from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** A file system of 1 MiB, or one that nobody may write. */
function mountSmall(path: string, options: string): Disposable {
  const run = (program: string, ...args: string[]) => {
    const { success, stderr } = new Deno.Command(program, { args }).outputSync();
    if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
  };
  Deno.mkdirSync(path);
  run("mount", "-t", "tmpfs", "-o", options, "none", path);
  return { [Symbol.dispose]: () => run("umount", path) };
}

Deno.test({
  name: "disks that are full, files that cannot be written, readers that leave: the guest goes on",
  // mount(8) is root's.
  ignore: Deno.uid() !== 0,
  fn: async () => {
    using directory = new TemporaryDirectory();
    using log = new HeartbeatLog(directory.file("serial"));
    const small = directory.file("small");
    const readOnly = directory.file("read-only");
    using _small = mountSmall(small, "size=1M");
    using _readOnly = mountSmall(readOnly, "ro");
    const options = heartbeatMachine(log, { cpus: 1, append: "memory=16 rate=60 period=20" });
    await using source = await VirtualMachine.start("molt", options, { directory });
    await log.beats(2);

    const offset = "offset 0x[0-9a-f]+";
    const ways: readonly (readonly [MigrationCapability | undefined, string, RegExp])[] = [
      [undefined, `file:${small}/state`, RegExp(`'${small}/state'.*${offset}.*No space left`)],
      ["mapped-ram", `file:${small}/state`, RegExp(`'${small}/state'.*${offset}.*No space left`)],
      [undefined, "file:/dev/full", /failed to truncate migration file to offset 0/],
      [undefined, `file:${readOnly}/state`, RegExp(`'${readOnly}/state': Read-only file system`)],
      [undefined, `file:${directory.path}`, RegExp(`'${directory.path}': Is a directory`)],
      [
        undefined,
        "exec:head -c 100000 > /dev/null",
        /The command 'head .*' ended with status 0 before it had read everything/,
      ],
      [undefined, "exec:cat > /dev/full", /The command 'cat .*' ended with status 1/],
    ];
    for (const [capability, uri, reason] of ways) {
      await source.qmp.execute("migrate-set-capabilities", {
        capabilities: [{ capability: "mapped-ram", state: capability === "mapped-ram" }],
      });
      const error = await assertRejects(async () => {
        await source.qmp.execute("migrate", { uri });
        await awaitMigration(source.qmp, { signal: patience() });
      }, Error);
      assertMatch(error.message, reason, uri);
      assertEquals((await source.qmp.execute("query-status")).status, "running", uri);
      if (error instanceof MigrationFailedError) assertEquals(error.status, "failed");
      await log.beats(2);
      assertEquals([...Deno.readDirSync(small)], [], "nothing is left");
    }
  },
});
