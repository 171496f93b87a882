/**
 * Snapshots (mapped-ram) by molt and by QEMU, in turns: how long it takes to save and to load a
 * stopped guest's memory, once full of random data and once with 5% of it touched.
 *
 *   deno run -A bench/mapped_ram.ts [--memory MIB] [--rounds N] [--channels N] [--directory DIR]
 *       [--only TEXT]
 *
 * The guest's memory is a file in /dev/shm that both map, so that there is no guest to be waited for.
 * Snapshots go to DIR, by default a folder for temporary files; what is measured depends on its file
 * system. With --only, measurements whose name has TEXT in it are made. "completed" is the time until query-migrate says so, "durable" includes an fdatasync of the
 * file after that: molt has done it by then, QEMU may not have. Medians of the rounds are printed.
 */
import { parseArgs } from "@std/cli/parse-args";
import { awaitMigration, type MigrationCapability } from "../src/qmp_client/mod.ts";
import { patience } from "../test/support/patience.ts";
import type { Vmm } from "../test/support/programs.ts";
import { TemporaryDirectory } from "../test/support/temporary_directory.ts";
import { VirtualMachine } from "../test/support/virtual_machine.ts";

const flags = parseArgs(Deno.args, {
  string: ["memory", "rounds", "channels", "directory", "only"],
  default: { memory: "4096", rounds: "3", channels: "2", only: "" },
});
const mebibytes = Number(flags.memory);
const rounds = Number(flags.rounds);
const MEBIBYTE = 1 << 20;
const PAGE = 4096;
/** Longest a save or load may take, in ms. */
const LONGEST = 600_000;

/** How a snapshot is taken. */
interface Manner {
  readonly name: string;
  readonly capabilities: readonly MigrationCapability[];
  readonly directIo: boolean;
}

const manners: readonly Manner[] = [
  { name: "one thread", capabilities: ["mapped-ram"], directIo: false },
  {
    name: `multifd ${flags.channels}`,
    capabilities: ["mapped-ram", "multifd"],
    directIo: false,
  },
  {
    name: `multifd ${flags.channels}, direct-io`,
    capabilities: ["mapped-ram", "multifd"],
    directIo: true,
  },
];

/** Seconds that a save or load took. */
interface Times {
  readonly completed: number;
  readonly durable: number;
}

/** Makes a file whose pages are random, all of them or every 20th run of 64. */
async function createMemory(path: string, everyRun: number): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true });
  await file.truncate(mebibytes * MEBIBYTE);
  const run = 64 * PAGE;
  const bytes = new Uint8Array(run);
  for (let i = 0; i < mebibytes * MEBIBYTE / run; i += everyRun) {
    for (let at = 0; at < run; at += 65536) {
      crypto.getRandomValues(bytes.subarray(at, at + 65536));
    }
    await file.seek(i * run, Deno.SeekMode.Start);
    for (let done = 0; done < run;) done += await file.write(bytes.subarray(done));
  }
}

function machine(backend: string, extra: readonly string[]): string[] {
  return [
    ...["-machine", "microvm,acpi=off,memory-backend=ram0", "-accel", "kvm", "-cpu", "host"],
    ...["-m", `${mebibytes}M`, "-object", `${backend},id=ram0,size=${mebibytes}M,share=on`],
    ...["-nodefaults", "-display", "none", "-S"],
    ...extra,
  ];
}

async function prepare({ qmp }: VirtualMachine, manner: Manner): Promise<void> {
  await qmp.execute("migrate-set-capabilities", {
    capabilities: manner.capabilities.map((capability) => ({ capability, state: true })),
  });
  await qmp.execute("migrate-set-parameters", {
    "max-bandwidth": 0,
    "multifd-channels": Number(flags.channels),
    "direct-io": manner.directIo,
  });
}

/** Seconds since `start`, which is a time of performance.now(). */
function since(start: number): number {
  return (performance.now() - start) / 1000;
}

async function save(vmm: Vmm, manner: Manner, memory: string, target: string): Promise<Times> {
  await Deno.remove(target).catch(() => {});
  using directory = new TemporaryDirectory();
  const options = machine(`memory-backend-file,mem-path=${memory}`, []);
  await using vm = await VirtualMachine.start(vmm, options, { directory });
  await prepare(vm, manner);
  const start = performance.now();
  await vm.qmp.execute("migrate", { uri: `file:${target}` });
  await awaitMigration(vm.qmp, { interval: 2, signal: patience(LONGEST) });
  const completed = since(start);
  using file = await Deno.open(target);
  await file.syncData();
  const durable = since(start);
  await vm.quit();
  return { completed, durable };
}

async function load(vmm: Vmm, manner: Manner, source: string): Promise<Times> {
  using directory = new TemporaryDirectory();
  const options = machine("memory-backend-memfd", ["-incoming", "defer"]);
  await using vm = await VirtualMachine.start(vmm, options, { directory });
  await prepare(vm, manner);
  const start = performance.now();
  await vm.qmp.execute("migrate-incoming", { uri: `file:${source}` });
  await awaitMigration(vm.qmp, { interval: 2, signal: patience(LONGEST) });
  const completed = since(start);
  await vm.quit();
  return { completed, durable: completed };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? NaN;
}

/** Measures both in turns, so that what the host does meanwhile meets both, and prints a line. */
async function compare(name: string, measure: (vmm: Vmm) => Promise<Times>): Promise<void> {
  if (!name.includes(flags.only)) return;
  const times: Record<Vmm, Times[]> = { molt: [], qemu: [] };
  for (let round = 0; round < rounds; round++) {
    const order: readonly Vmm[] = round % 2 === 0 ? ["molt", "qemu"] : ["qemu", "molt"];
    for (const vmm of order) times[vmm].push(await measure(vmm));
  }
  const of = (vmm: Vmm, key: keyof Times) => median(times[vmm].map((time) => time[key]));
  const cells = (["completed", "durable"] as const).flatMap((key) => [
    `${of("molt", key).toFixed(2)} s`,
    `${of("qemu", key).toFixed(2)} s`,
    (of("qemu", key) / of("molt", key)).toFixed(2),
  ]);
  console.log(name.padEnd(40) + cells.map((cell) => cell.padStart(10)).join(""));
}

using memory = new TemporaryDirectory("/dev/shm");
using target = new TemporaryDirectory(flags.directory);
const snapshot = target.file("snapshot");
console.log(
  `mapped-ram, ${mebibytes} MiB, ${target.path}, medians of ${rounds}; QEMU / molt: how often`,
);
console.log("molt is as fast as QEMU\n");
console.log(
  "".padEnd(40) +
    ["completed:", "QEMU", "QEMU/molt", "durable:", "QEMU", "QEMU/molt"]
      .map((title) => title.padStart(10)).join(""),
);
for (const [content, everyRun] of [["random", 1], ["5% touched", 20]] as const) {
  const path = memory.file("memory");
  for (const manner of manners) {
    await compare(`save, ${content}, ${manner.name}`, async (vmm) => {
      // Saving may allocate what was never touched: each save gets memory of its own.
      if (everyRun > 1) await Deno.remove(path).catch(() => {});
      if (!exists(path)) await createMemory(path, everyRun);
      return await save(vmm, manner, path, snapshot);
    });
  }
  if (!exists(snapshot)) {
    await createMemory(path, everyRun);
    await save("molt", manners[0]!, path, snapshot);
  }
  await Deno.remove(path).catch(() => {});
  for (const manner of manners) {
    await compare(`load, ${content}, ${manner.name}`, (vmm) => load(vmm, manner, snapshot));
  }
  await Deno.remove(snapshot);
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
