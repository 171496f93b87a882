/** A running guest goes from QEMU to molt and back over cpr-transfer; its memory stays where it is. */
import { assertEquals } from "@std/assert";
import { awaitMigration, type MigrationChannel } from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { memoryFiles } from "../support/processes.ts";
import type { Vmm } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const ROUNDS = 10;

for (const returnPath of [false, true]) {
  const how = returnPath ? "with" : "without";
  Deno.test(`QEMU -> molt -> QEMU by cpr-transfer, ${ROUNDS} rounds, ${how} return path`, async () => {
    using directory = new TemporaryDirectory();
    using log = new HeartbeatLog(directory.file("serial"));
    const options = heartbeatMachine(log, { shared: "memfd" });
    const channels = (["main", "cpr"] as const).map((type): MigrationChannel => ({
      "channel-type": type,
      "addr": { transport: "socket", type: "unix", path: directory.file(type) },
    }));
    const incoming = channels.flatMap((channel) => ["-incoming", JSON.stringify(channel)]);
    let number = 0;
    const start = (vmm: Vmm, more: readonly string[], connect: boolean) =>
      VirtualMachine.start(vmm, [...options, ...more], {
        directory,
        name: `${number++}`,
        connect,
      });

    let current = await start("qemu", [], true);
    try {
      await log.beats(3);
      const memory = memoryFiles(current.pid);
      for (let round = 0; round < 2 * ROUNDS; round++) {
        // QEMU's monitor answers only when the memory is there.
        const next = await start(round % 2 === 0 ? "molt" : "qemu", incoming, false);
        await using source = current;
        current = next;
        await existence(directory.file("cpr"), patience());
        if (returnPath) {
          const capabilities = [{ capability: "return-path", state: true } as const];
          await source.qmp.execute("migrate-set-capabilities", { capabilities });
        }
        await source.qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
        await source.qmp.execute("migrate", { channels });
        try {
          await awaitMigration(source.qmp, { signal: patience() });
          await next.connect();
          await awaitMigration(next.qmp, { signal: patience() });
          await log.beats(3);
        } catch (cause) {
          throw new Error(`round ${round}: ${source.describe()}\n${next.describe()}`, { cause });
        }
        assertEquals((await source.qmp.execute("query-status")).status, "postmigrate");
        assertEquals((await next.qmp.execute("query-status")).status, "running");
        assertEquals(memoryFiles(next.pid), memory, "the same memory");
        await source.kill();
        for (const type of ["main", "cpr"]) await Deno.remove(directory.file(type)).catch(() => {});
      }
    } finally {
      await current[Symbol.asyncDispose]();
    }
  });
}

/** Waits for a socket to be made. */
async function existence(path: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    try {
      await Deno.lstat(path);
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
