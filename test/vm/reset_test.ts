/** A guest that resets its machine gets what it asked for, whatever happens to the machine meanwhile. */
import { assertEquals, assertGreater } from "@std/assert";
import { guestImage } from "../support/programs.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const STOPS = 150;

/** Waits until the guest has begun anew, which prints a dot. */
async function begunAnew(path: string): Promise<void> {
  const before = Deno.statSync(path).size;
  const signal = patience();
  while (Deno.statSync(path).size === before) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

Deno.test(`a reset that the guest asks for while it is being stopped is not lost: ${STOPS} stops`, async () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("serial");
  await using vm = await VirtualMachine.start("molt", [
    ...["-M", "microvm", "-accel", "kvm", "-m", "32M", "-nodefaults", "-display", "none"],
    ...["-kernel", guestImage("reset.elf"), "-serial", `file:${path}`],
  ], { directory });
  for (let stop = 1; stop <= STOPS; stop++) {
    await begunAnew(path);
    await vm.qmp.execute("stop");
    const stopped = Deno.statSync(path).size;
    assertEquals((await vm.qmp.execute("query-status")).status, "paused");
    assertEquals(Deno.statSync(path).size, stopped, "a stopped guest prints nothing");
    await vm.qmp.execute("cont");
  }
  await begunAnew(path);
  assertGreater(Deno.statSync(path).size, STOPS);
});
