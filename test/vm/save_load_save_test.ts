/** What is saved, loaded and saved again is the same, but for clocks. */
import { assert, assertEquals } from "@std/assert";
import { compare } from "../../src/inspect/compare.ts";
import { examine } from "../../src/inspect/examine.ts";
import type { OpenReport, StreamReport } from "../../src/inspect/report.ts";
import { awaitMigration } from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "../support/heartbeat_log.ts";
import { heartbeatMachine } from "../support/heartbeat_machine.ts";
import { patience } from "../support/patience.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { VirtualMachine } from "../support/virtual_machine.ts";

/** The fields that go on while a machine is paused: the processors' time stamp counters. */
const clocks = ["env.tsc"];
/** KVM_SYSTEM_TIME's lowest bit says that the clock is in use (Linux: Documentation/virt/kvm/x86/msr.rst). */
const IN_USE = 1n;
const PAGE = 4096n;
/** All that is left may be sent while the guest is stopped. */
const allAtOnce = { "downtime-limit": 2_000_000, "avail-switchover-bandwidth": 2 ** 40 };

async function save(vm: VirtualMachine, path: string): Promise<void> {
  await vm.qmp.execute("migrate", { uri: `file:${path}` });
  await awaitMigration(vm.qmp, { signal: patience() });
}

function openStream(path: string): OpenReport<StreamReport> {
  const { report, ...open } = examine(path, { offset: 0 });
  if (report.kind !== "stream") throw new Error(`${path} is no stream`);
  assertEquals(report.problem, undefined);
  return { ...open, report };
}

/** Whether the byte of the file is one of RAM's, or of a clock. */
function mayDiffer(report: StreamReport, at: number): boolean {
  const within = ({ offset, size }: { offset: number; size: number }) =>
    at >= offset && at < offset + size;
  return report.parts.some((part) => part.name === "ram" && within(part)) ||
    report.devices.some(({ fields }) =>
      fields.some((field) => clocks.includes(field.path) && within(field))
    );
}

Deno.test("save, load, save: the same bytes, but for the clocks and KVM's clock page in memory", async () => {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const options = heartbeatMachine(log, { memory: 32 });
  const [a, b] = [directory.file("a"), directory.file("b")];
  {
    await using first = await VirtualMachine.start("molt", options, { directory, name: "first" });
    await log.beats(3);
    await first.qmp.execute("stop");
    // Where the pages before and after the guest's stop meet must not depend on how quick this host is.
    await first.qmp.execute("migrate-set-parameters", allAtOnce);
    await save(first, a);
  }
  {
    const loading = [...options, "-incoming", `file:${a}`];
    await using second = await VirtualMachine.start("molt", loading, { directory, name: "second" });
    await awaitMigration(second.qmp, { signal: patience() });
    assertEquals((await second.qmp.execute("query-status")).status, "paused");
    await second.qmp.execute("migrate-set-parameters", allAtOnce);
    await save(second, b);
  }

  using before = openStream(a);
  using after = openStream(b);
  const { devices, blocks, onlyInA, onlyInB, configuration } = compare(before, after);
  assertEquals([onlyInA, onlyInB, configuration], [[], [], []]);
  const fields = devices.flatMap((device) => device.fields.map(({ name }) => name));
  assertEquals([...new Set(fields)], clocks);

  const systemTime = before.report.devices.find(({ name }) => name === "cpu")?.fields
    .find(({ path }) => path === "env.system_time_msr")?.value;
  const clock = BigInt(String(systemTime));
  assert((clock & IN_USE) !== 0n, "the guest uses KVM's clock");
  for (const { block, ranges } of blocks) {
    assertEquals({ block, ranges }, {
      block: "microvm.ram",
      ranges: [{ first: Number(clock / PAGE), count: 1 }],
    });
  }

  const [bytes, again] = [Deno.readFileSync(a), Deno.readFileSync(b)];
  assertEquals(again.length, bytes.length);
  const others = [...bytes.keys()].filter((at) =>
    bytes[at] !== again[at] && !mayDiffer(before.report, at)
  );
  assertEquals(others, [], "offsets of bytes that differ for no reason");
});
