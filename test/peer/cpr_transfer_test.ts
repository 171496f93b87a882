/** A running guest goes from QEMU to molt and back over cpr-transfer; its memory stays where it is. */
import { assertEquals, assertLess, assertMatch } from "@std/assert";
import { awaitMigration, type MigrationChannel } from "../../src/qmp_client/mod.ts";
import { awaitListening } from "../../scripts/lib/listening.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { mappedMemory } from "../support/processes.ts";
import { STREAM_LIMIT } from "../support/stream_contents.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const ROUNDS = 10;
/** The 64 MiB of guest RAM in one memfd. */
const RAM = /^\S+ \d+ 67108864$/m;

Deno.test(`QEMU -> molt -> QEMU by cpr-transfer, ${ROUNDS} rounds: another process, same memory`, async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const options = heartbeatMachine(log, { shared: "memfd" });

  let current = await VirtualMachine.start("qemu", options, { directory });
  try {
    await log.grown();
    const memory = mappedMemory(current.pid);
    assertMatch(memory.join("\n"), RAM);
    for (let move = 0; move < 2 * ROUNDS; move++) {
      const name = `${move}`;
      const cpr = directory.file(`${name}.cpr`);
      const channels: MigrationChannel[] = [
        unix("main", directory.file(`${name}.main`)),
        unix("cpr", cpr),
      ];
      const incoming = channels.flatMap((channel) => ["-incoming", JSON.stringify(channel)]);
      const vmm = move % 2 === 0 ? "molt" : "qemu";
      log.place = `${vmm} after move ${move + 1}`;
      // QEMU's monitor answers only when the memory is there.
      const next = await VirtualMachine.start(vmm, [...options, ...incoming], {
        directory,
        name,
        connect: false,
      });
      await using source = current;
      current = next;
      await awaitListening(cpr, next.pid, patience());
      // Every second time there and back.
      const state = move % 4 >= 2;
      await source.qmp.execute("migrate-set-capabilities", {
        capabilities: [{ capability: "return-path", state }],
      });
      await source.qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
      try {
        await source.qmp.execute("migrate", { channels });
        const { ram } = await awaitMigration(source.qmp, { signal: patience() });
        assertLess(ram?.transferred ?? 0, STREAM_LIMIT, "no memory in the stream");
        await next.connect();
        await awaitMigration(next.qmp, { signal: patience() });
        await log.passes();
      } catch (cause) {
        throw new Error(`move ${move}: ${source.describe()}\n${next.describe()}`, { cause });
      }
      assertEquals((await source.qmp.execute("query-status")).status, "postmigrate");
      assertEquals((await next.qmp.execute("query-status")).status, "running");
      assertEquals(mappedMemory(next.pid), memory, "the same memory");
      await source.kill();
    }
  } finally {
    await current[Symbol.asyncDispose]();
  }
});

function unix(type: "main" | "cpr", path: string): MigrationChannel {
  return { "channel-type": type, "addr": { transport: "socket", type: "unix", path } };
}
