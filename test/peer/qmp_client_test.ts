/** The QMP client against both servers that it is for. */
import { assertEquals, assertRejects } from "@std/assert";
import { QmpClient, QmpCommandError } from "../../src/qmp_client/mod.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const options = ["-machine", "microvm,acpi=off", "-accel", "kvm", "-m", "32M", "-S"];
const quiet = ["-nodefaults", "-display", "none"];

for (const vmm of ["qemu", "molt"] as const) {
  Deno.test(`a client drives ${vmm}: typed commands, errors by class, events in order`, async () => {
    using directory = new TemporaryDirectory();
    await using vm = await VirtualMachine.start(vmm, [...options, ...quiet], { directory });
    const { qmp } = vm;
    assertEquals(qmp.outOfBand, true);
    assertEquals(qmp.greeting.version.qemu.major, 11);
    assertEquals(await qmp.execute("query-status"), { status: "prelaunch", running: false });
    const [cpu] = await qmp.execute("query-cpus-fast");
    const thread = Deno.readTextFileSync(`/proc/${cpu?.["thread-id"]}/status`);
    assertEquals(thread.match(/^Tgid:\s*(\d+)$/m)?.[1], String(vm.pid));

    using events = qmp.events("RESUME", "STOP");
    await qmp.execute("cont");
    await qmp.execute("stop");
    const resumed = await events.take({ signal: patience() });
    const stopped = await events.take({ signal: patience() });
    assertEquals([resumed.name, stopped.name], ["RESUME", "STOP"]);
    assertEquals(stopped.time >= resumed.time, true);

    const refused = await assertRejects(() => qmp.executeUntyped("no-such"), QmpCommandError);
    assertEquals(refused.errorClass, "CommandNotFound");
    const path = { path: "/no/such", property: "type" };
    const missing = await assertRejects(() => qmp.execute("qom-get", path), QmpCommandError);
    assertEquals(missing.errorClass, "DeviceNotFound");
    assertEquals((await qmp.execute("query-migrate")).status, undefined);

    using shutdown = qmp.events("SHUTDOWN");
    assertEquals((await vm.quit()).code, 0);
    assertEquals((await shutdown.take()).data.reason, "host-qmp-quit");
  });

  Deno.test(`a client reaches ${vmm} over TCP, and its pretty-printing monitor`, async () => {
    using directory = new TemporaryDirectory();
    const pretty = directory.file("pretty.qmp");
    const monitors = [
      ...["-chardev", "socket,id=tcp,host=127.0.0.1,port=0,server=on,wait=off"],
      ...["-mon", "chardev=tcp,mode=control"],
      ...["-qmp-pretty", `unix:${pretty},server=on,wait=off`],
    ];
    const args = [...options, ...quiet, ...monitors];
    await using vm = await VirtualMachine.start(vmm, args, { directory });
    const chardevs = await vm.qmp.execute("query-chardev");
    const filename = chardevs.find(({ label }) => label === "tcp")?.filename ?? "";
    const port = filename.match(/127\.0\.0\.1:(\d+)/)?.[1];
    for (const address of [`127.0.0.1:${port}`, pretty]) {
      await using client = await QmpClient.connect(address, { signal: patience() });
      assertEquals((await client.execute("query-status")).status, "prelaunch");
    }
  });
}
