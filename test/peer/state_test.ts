/** Neither program loses or changes anything of a machine that the other one saved. */
import { assertEquals } from "@std/assert";
import { awaitMigration } from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { qemuFile, type Vmm } from "../support/programs.ts";
import { differingFields, readStream, type StreamContents } from "../support/stream_contents.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";
import { patience } from "../support/patience.ts";

/** What is different in a machine that was loaded and not started: its clocks and its run state. */
const expectedDifferences: Readonly<Record<Vmm, RegExp>> = {
  // The time stamp counters go on.
  molt: /^(cpu\/\d env\.tsc|globalstate\/0 (size|runstate))$/,
  // kvmclock is what KVM reports of a machine that has not run, and the RTC follows the host's clock.
  qemu: new RegExp(
    "^(kvmclock/0 clock|globalstate/0 (size|runstate)|" +
      "mc146818rtc/0 (cmos_data|update_timer|next_alarm_time))$",
  ),
};

const machines = [
  { machine: "microvm,acpi=off", firmware: false },
  { machine: "microvm,acpi=off,pit=off,pic=off", firmware: false },
  { machine: "microvm,acpi=off,rtc=on,ioapic2=on", firmware: false },
  // QEMU's own firmware for ACPI takes its time here: the small one starts the same guest.
  { machine: "microvm", firmware: true },
];

async function save(vm: VirtualMachine, path: string): Promise<StreamContents> {
  await vm.qmp.execute("migrate", { uri: `file:${path}` });
  await awaitMigration(vm.qmp, { signal: patience() });
  return readStream(path);
}

for (const { machine, firmware } of machines) {
  for (const [from, to] of [["qemu", "molt"], ["molt", "qemu"]] as const) {
    Deno.test(`${to} saves what it loaded as ${from} saved it: -machine ${machine}`, async () => {
      using directory = new TemporaryDirectory();
      using log = new HeartbeatLog(directory.file("serial"));
      // A machine that molt starts has the firmware's block in the size of QEMU's own.
      const bios = firmware ? ["-bios", qemuFile("qboot.rom")] : [];
      const options = heartbeatMachine(log, { machine });
      const both = from === "qemu" ? [...options, ...bios] : options;
      await using source = await VirtualMachine.start(from, both, { directory });
      await log.beats(3);
      const saved = await save(source, directory.file("first"));

      const incoming = ["-S", "-incoming", `file:${directory.file("first")}`];
      await using target = await VirtualMachine.start(to, [...both, ...incoming], { directory });
      await awaitMigration(target.qmp, { signal: patience() });
      const again = await save(target, directory.file("second"));

      assertEquals(again.order, saved.order);
      assertEquals(again.blocks, saved.blocks);
      assertEquals(again.description, saved.description);
      const differences = differingFields(saved, again);
      assertEquals(differences.filter((name) => !expectedDifferences[to].test(name)), []);
    });
  }
}
