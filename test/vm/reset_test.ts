/** A guest that is reset starts again from what it started from, whatever became of the files. */
import { assertEquals } from "@std/assert";
import { patience } from "../support/patience.ts";
import { guestImage } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

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
