/** A running guest goes from QEMU to molt and from molt to QEMU, by every way that both have. */
import { assertGreater } from "@std/assert";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { move, routes } from "../support/moves.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

for (const route of routes) {
  const moves = 2 * route.rounds;
  Deno.test(`a guest lives through ${moves} moves between QEMU and molt: ${route.name}`, async () => {
    using directory = new TemporaryDirectory();
    using shm = new TemporaryDirectory("/dev/shm");
    using log = new HeartbeatLog(directory.file("serial"));
    const options = heartbeatMachine(log, route.machine?.(shm));
    const { launcher = [], options: more = [] } = route.launch?.({ directory, move: 0 }) ?? {};
    const first = { directory, name: "0", launcher };
    let current = await VirtualMachine.start("qemu", [...options, ...more], first);
    try {
      await log.grown();
      for (let number = 1; number <= moves; number++) {
        await using before = current;
        const vmm = number % 2 === 1 ? "molt" : "qemu";
        log.place = `${vmm} after move ${number}`;
        current = await move(before, vmm, options, route, { directory, move: number });
        await log.passes();
      }
    } finally {
      await current[Symbol.asyncDispose]();
    }
    assertGreater(log.verify(), 2 * moves);
  });
}
