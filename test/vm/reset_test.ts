/**
 * A guest that is reset starts again from what it started from, whatever became of the files, and one that
 * resets its machine gets what it asked for, whatever happens to the machine meanwhile.
 */
import { assertEquals, assertGreater } from "@std/assert";
import { patience } from "../support/patience.ts";
import { guestImage } from "../support/programs.ts";
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

async function startFrom(kernel: string, directory: TemporaryDirectory): Promise<VirtualMachine> {
  Deno.copyFileSync(guestImage("idle.elf"), kernel);
  return await VirtualMachine.start("molt", [
    ...["-machine", "microvm", "-accel", "kvm", "-m", "64M", "-nodefaults", "-display", "none"],
    ...["-kernel", kernel, "-serial", "null"],
  ], { directory });
}

async function reset({ qmp }: VirtualMachine): Promise<string> {
  using resets = qmp.events("RESET");
  await qmp.execute("system_reset");
  await resets.take({ signal: patience() });
  return (await qmp.execute("query-status")).status;
}

Deno.test("a guest whose kernel has been removed is reset all the same", async () => {
  using directory = new TemporaryDirectory();
  const kernel = directory.file("kernel");
  await using vm = await startFrom(kernel, directory);
  Deno.removeSync(kernel);
  assertEquals(await reset(vm), "running");
  assertEquals(await reset(vm), "running");
});

Deno.test("a guest that cannot start again is stopped, and starts when its kernel is right again", async () => {
  using directory = new TemporaryDirectory();
  const kernel = directory.file("kernel");
  await using vm = await startFrom(kernel, directory);
  const good = Deno.readFileSync(kernel);
  Deno.writeFileSync(kernel, new Uint8Array(good.length));
  assertEquals(await reset(vm), "internal-error");
  Deno.writeFileSync(kernel, good);
  assertEquals(await reset(vm), "prelaunch");
  await vm.qmp.execute("cont");
  assertEquals((await vm.qmp.execute("query-status")).status, "running");
});

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
