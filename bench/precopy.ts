/**
 * Live migration by molt and by QEMU, in turns: how long it takes to move a guest that dirties memory at
 * a given rate to another process of the same program, over a unix socket and over TCP.
 *
 *   deno run -A bench/precopy.ts [--rounds N] [--memory MIB] [--rate MBPS] [--programs molt,qemu]
 *
 * The guest rewrites half of its memory in turns, RATE million bytes a second, after it has filled it with
 * what cannot be compressed. `total` and `downtime` are the source's own figures (query-migrate).
 */
import { parseArgs } from "@std/cli/parse-args";
import { HeartbeatLog } from "../test/support/heartbeat_log.ts";
import { heartbeatMachine } from "../test/support/heartbeat_machine.ts";
import { move, type Route, routes } from "../test/support/moves.ts";
import { patience } from "../test/support/patience.ts";
import type { Vmm } from "../test/support/programs.ts";
import { TemporaryDirectory } from "../test/support/temporary_directory.ts";
import { VirtualMachine } from "../test/support/virtual_machine.ts";

const flags = parseArgs(Deno.args, {
  string: ["rounds", "memory", "rate", "programs"],
  default: { rounds: "5", memory: "1024", rate: "100", programs: "molt,qemu" },
});
const rounds = Number(flags.rounds);
const memory = Number(flags.memory);
/** Longest a migration may take, in ms. */
const LONGEST = 300_000;

/** Milliseconds. */
interface Times {
  readonly total: number;
  readonly downtime: number;
}

async function measure(vmm: Vmm, route: Route): Promise<Times> {
  using directory = new TemporaryDirectory();
  using log = new HeartbeatLog(directory.file("serial"));
  const append = `memory=${memory / 2} rate=${flags.rate} fill=1`;
  const options = heartbeatMachine(log, { memory, append });
  await using source = await VirtualMachine.start(vmm, options, { directory, name: "source" });
  await log.beats(30);
  await source.qmp.execute("migrate-set-parameters", { "max-bandwidth": 0 });
  const place = { directory, move: 1 };
  await using _ = await move(source, vmm, options, route, place, patience(LONGEST));
  await log.beats(3);
  const migration = await source.qmp.execute("query-migrate");
  return { total: migration["total-time"] ?? NaN, downtime: migration.downtime ?? NaN };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? NaN;
}

const programs = flags.programs.split(",") as Vmm[];
console.log(
  `Live migration of ${memory} MiB at ${flags.rate} MB/s, 2 vCPUs, medians of ${rounds}\n`,
);
console.log(
  `| over |${programs.map((p) => ` ${p} total | ${p} downtime |`).join("")} molt / QEMU |`,
);
console.log(`| --- |${programs.map(() => " --- | --- |").join("")} --- |`);
for (const route of routes.filter(({ name }) => ["unix", "tcp", "multifd tcp"].includes(name))) {
  const times = new Map<Vmm, Times[]>(programs.map((vmm) => [vmm, []]));
  for (let round = 0; round < rounds; round++) {
    for (const vmm of round % 2 === 0 ? programs : programs.toReversed()) {
      times.get(vmm)?.push(await measure(vmm, route));
    }
  }
  const of = (vmm: Vmm, key: keyof Times) => median((times.get(vmm) ?? []).map((t) => t[key]));
  const cells = programs.map((vmm) => `${of(vmm, "total")} ms | ${of(vmm, "downtime")} ms`);
  const ratio = of("molt", "total") / of("qemu", "total");
  console.log(`| ${route.name} | ${cells.join(" | ")} | ${ratio.toFixed(2)} |`);
}
