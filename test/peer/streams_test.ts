/** A running guest goes from QEMU to molt and from molt to QEMU, by every way that both have. */
import { assertGreater } from "@std/assert";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { move, routes } from "../support/moves.ts";
import type { Vmm } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** There and back so often. */
const ROUNDS = 10;

for (const route of routes) {
  Deno.test(`a guest lives through ${2 * ROUNDS} moves between QEMU and molt: ${route.name}`, async () => {
    using directory = new TemporaryDirectory();
    using log = new HeartbeatLog(directory.file("serial"));
    const options = heartbeatMachine(log);
    let number = 0;
    const start = (vmm: Vmm, incoming: string[]) =>
      VirtualMachine.start(vmm, [...options, ...incoming], { directory, name: `${number++}` });

    let current = await start("qemu", []);
    try {
      await log.beats(5);
      for (let round = 0; round < 2 * ROUNDS; round++) {
        const next = await start(round % 2 === 0 ? "molt" : "qemu", ["-incoming", "defer"]);
        await using before = current;
        current = next;
        await move(before, next, route, directory);
        await log.beats(2);
      }
    } finally {
      await current[Symbol.asyncDispose]();
    }
    assertGreater(log.verify(), 4 * ROUNDS);
  });
}
