/** Snapshots are each other's files: what one program saved, the other loads and saves again alike. */
import { assertEquals, assertGreater } from "@std/assert";
import * as z from "zod";
import { awaitMigration } from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { commandOf } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

const snapshot = z.looseObject({
  format: z.literal("mapped-ram"),
  configuration: z.looseObject({ "machine-type": z.literal("microvm") }),
  sections: z.array(z.looseObject({ kind: z.string(), name: z.string() })),
  blocks: z.array(z.looseObject({ name: z.string(), sha256: z.string() })),
});

const comparison = z.looseObject({
  configuration: z.array(z.unknown()),
  devices: z.array(z.looseObject({ section: z.string() })),
  "only-in-a": z.array(z.unknown()),
  "only-in-b": z.array(z.unknown()),
  blocks: z.array(z.looseObject({
    block: z.string(),
    ranges: z.array(z.object({ from: z.number(), to: z.number() })),
  })),
});

/** What a machine that was loaded and not started has otherwise: clocks and its run state. */
const clocks = /^(cpu\/\d|globalstate\/0|kvmclock\/0|mc146818rtc\/0|timer\/0)$/;

/** Runs `molt inspect`. */
async function inspect(expected: number, ...args: readonly string[]): Promise<unknown> {
  const [program = "", ...command] = commandOf("molt");
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args: [...command, "inspect", "--json", ...args],
  }).output();
  const decoder = new TextDecoder();
  assertEquals(code, expected, decoder.decode(stderr));
  return JSON.parse(decoder.decode(stdout));
}

async function save(vm: VirtualMachine, path: string): Promise<void> {
  await configure(vm);
  await vm.qmp.execute("migrate", { uri: `file:${path}` });
  await awaitMigration(vm.qmp, { signal: patience() });
}

async function configure(vm: VirtualMachine): Promise<void> {
  await vm.qmp.execute("migrate-set-capabilities", {
    capabilities: [
      { capability: "mapped-ram", state: true },
      { capability: "multifd", state: true },
    ],
  });
}

for (const [from, to] of [["qemu", "molt"], ["molt", "qemu"]] as const) {
  Deno.test(`${to} loads ${from}'s snapshot, and molt inspect finds the same in what it saves`, async () => {
    using directory = new TemporaryDirectory();
    using log = new HeartbeatLog(directory.file("serial"));
    const options = heartbeatMachine(log);
    const [first, second] = [directory.file("first"), directory.file("second")];
    await using source = await VirtualMachine.start(from, options, { directory });
    await log.beats(3);
    await save(source, first);

    const incoming = ["-S", "-incoming", "defer"];
    await using target = await VirtualMachine.start(to, [...options, ...incoming], { directory });
    await configure(target);
    await target.qmp.execute("migrate-incoming", { uri: `file:${first}` });
    await awaitMigration(target.qmp, { signal: patience() });
    await save(target, second);

    const files = [first, second].map((path) => inspect(0, "--checksum", path));
    const [a, b] = (await Promise.all(files)).map((value) => snapshot.parse(value));
    assertGreater(a?.sections.length, 10);
    assertEquals(b?.blocks.map(({ name }) => name), a?.blocks.map(({ name }) => name));
    const differences = comparison.parse(await inspect(1, first, second));
    // The clocks of both CPUs are in one page. Whether KVM writes them in a machine that is loaded
    // and does not run depends on the host: PVM's does.
    const ranges = differences.blocks.flatMap(({ block, ranges }) =>
      ranges.map(({ from, to }) => ({ block, size: to - from }))
    );
    if (ranges.length > 0) assertEquals(ranges, [{ block: "microvm.ram", size: 4096 }]);
    assertEquals([differences["only-in-a"], differences["only-in-b"]], [[], []]);
    assertEquals(differences.configuration, []);
    assertEquals(differences.devices.filter(({ section }) => !clocks.test(section)), []);
  });
}
