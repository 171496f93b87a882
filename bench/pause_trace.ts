/**
 * What the two pauses of a cpr-exec update are made of: from STOP to RESUME by step, with times, and the system
 * calls and garbage collections in them.
 *
 *   deno run -A bench/pause_trace.ts [--updates N] [--cpus 1,4,8] [--devices 0,8] [--memory MIB]
 *                                    [--molt PROGRAM] [--traced N] [--lines REGEXP]
 *
 * Times are those of molt's own phases (src/migration/phases.ts, x-query-update): medians of N updates, one column for
 * each number of vCPUs and virtio devices. There `load` begins before its pause, waiting: what lies in the pause
 * counts. Source and destination work side by side, so steps add up to more than the pause.
 *
 * Counts come from another N updates under strace, whose clock is the phases' clock: what happened in the pauses,
 * by the process it happened in. Times are wrong there, counts are not. `--molt` from sources with
 * `--v8-flags=--trace-gc` shows garbage collections (line by line, thanks to stdbuf). `--lines` counts what programs write that matches, too.
 */
import { parseArgs } from "@std/cli/parse-args";
import { QmpClient } from "../src/qmp_client/mod.ts";

const root = new URL("..", import.meta.url).pathname;
const flags = parseArgs(Deno.args, {
  string: ["updates", "cpus", "devices", "memory", "molt", "traced", "lines"],
  default: {
    updates: "20",
    cpus: "1,4,8",
    devices: "0,8",
    memory: "64",
    molt: `${Deno.execPath()} run --v8-flags=--trace-gc --allow-ffi --allow-read ${root}main.ts`,
    traced: "4",
    lines: "Scavenge|Mark-Compact",
  },
});
const folder = Deno.makeTempDirSync({ prefix: "molt-bench-" });

/** A phase as x-query-update reports it: microseconds since the epoch, and how many it took. */
interface Phase {
  readonly phase: string;
  readonly pid: number;
  readonly start: number;
  readonly time: number;
}

/** A pause: from the beginning of `stop` to the end of `resume`. */
interface Pause {
  readonly start: number;
  readonly end: number;
  readonly steps: ReadonlyMap<string, number>;
}

interface Machine {
  readonly cpus: number;
  readonly devices: number;
}

function commandOf({ cpus, devices }: Machine, socket: string): string[] {
  const disk = `${folder}/disk`;
  Deno.writeFileSync(disk, new Uint8Array(1 << 20));
  const memory = `${flags.memory}M`;
  return [
    ...flags.molt.split(" "),
    ...["-M", "microvm,memory-backend=ram0,aux-ram-share=on,acpi=off", "-accel", "kvm"],
    ...["-cpu", "host", "-m", memory, "-smp", String(cpus)],
    ...["-object", `memory-backend-memfd,id=ram0,size=${memory},share=on`],
    ...["-kernel", `${root}build/guests/idle.elf`, "-nodefaults", "-display", "none"],
    ...["-qmp", `unix:${socket},server=on,wait=off`],
    // Half of them disks, the other half sources of random numbers.
    ...Array.from(
      { length: devices },
      (_, i) =>
        i % 2 === 0
          ? [
            ...["-drive", `if=none,id=d${i},file=${disk},format=raw,readonly=on,file.locking=off`],
            ...["-device", `virtio-blk-device,drive=d${i}`],
          ]
          : ["-device", "virtio-rng-device"],
    ).flat(),
  ];
}

/** The pauses that phases tell of, in their order. */
function pausesOf(phases: readonly Phase[]): Pause[] {
  const ends = phases.filter(({ phase }) => phase === "resume").map((p) => p.start + p.time);
  return phases.filter(({ phase }) => phase === "stop").map(({ start }) => {
    const end = Math.min(...ends.filter((end) => end > start));
    const steps = new Map<string, number>();
    for (const phase of phases) {
      const inside = Math.min(end, phase.start + phase.time) - Math.max(start, phase.start);
      if (inside > 0) steps.set(phase.phase, (steps.get(phase.phase) ?? 0) + inside);
    }
    return { start, end, steps };
  });
}

/** Updates a machine `count` times. Returns each update's pauses. */
async function update(
  machine: Machine,
  count: number,
  wrapper: readonly string[] = [],
): Promise<Pause[][]> {
  const socket = `${folder}/qmp`;
  const command = commandOf(machine, socket);
  const [program = "", ...args] = [...wrapper, ...command];
  const child = new Deno.Command(program, { args, stdin: "null", stdout: "null" }).spawn();
  const connect = () =>
    QmpClient.connect(socket, { wait: true, signal: AbortSignal.timeout(120_000) });
  try {
    const updates: Pause[][] = [];
    for (let time = 0; time < count; time++) {
      {
        await using qmp = await connect();
        await qmp.execute("migrate-set-parameters", {
          "mode": "cpr-exec",
          "cpr-exec-command": command,
        });
        await qmp.executeUntyped("migrate");
        await qmp.closed;
      }
      await using qmp = await connect();
      const { phases } = await qmp.executeUntyped("x-query-update") as { phases: Phase[] };
      const pauses = pausesOf(phases);
      if (pauses.length !== 2) throw new Error(`the update had ${pauses.length} pauses`);
      updates.push(pauses);
      // What runs in the background after an update belongs to no pause.
      await new Promise((done) => setTimeout(done, 1000));
    }
    await using qmp = await connect();
    await qmp.execute("quit");
    await child.status;
    return updates;
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await child.status;
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? NaN;
}

/** The name of what a line of strace shows: the system call, with the request of an ioctl. */
function nameOf(line: string): string | undefined {
  const [, call, rest = ""] = /^(\w+)\((.*)/s.exec(line) ?? [];
  if (call === undefined) return undefined;
  if (call === "write" && new RegExp(flags.lines).test(rest)) {
    return `written: ${new RegExp(flags.lines).exec(rest)?.[0]}`;
  }
  return call === "ioctl" ? `ioctl ${/, ([^,)]+)/.exec(rest)?.[1] ?? "?"}` : call;
}

/** How often each thing happened in the pauses, per update. */
function countsIn(trace: string, pauses: readonly Pause[], updates: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of trace.split("\n")) {
    const [, time = "", rest = ""] = /^\d+ +([\d.]+) (.*)/s.exec(line) ?? [];
    const at = Number(time) * 1e6;
    const name = nameOf(rest);
    if (name === undefined || !pauses.some(({ start, end }) => at >= start && at <= end)) continue;
    counts.set(name, (counts.get(name) ?? 0) + 1 / updates);
  }
  return counts;
}

function printTable(title: string, names: readonly string[], rows: Map<string, number[]>): void {
  console.log(`\n| ${title} | ${names.join(" | ")} |`);
  console.log(`| --- |${names.map(() => " ---: |").join("")}`);
  for (const [name, values] of rows) {
    const cells = names.map((_, i) => {
      const value = values[i] ?? 0;
      return value >= 100 ? value.toFixed(0) : value.toFixed(1);
    });
    console.log(`| ${name} | ${cells.join(" | ")} |`);
  }
}

/** The numbers of a list with commas. */
function numbers(list: string): number[] {
  return list.split(",").map(Number);
}

const machines: Machine[] = numbers(flags.devices).flatMap((devices) =>
  numbers(flags.cpus).map((cpus) => ({ cpus, devices }))
);
const names = machines.map(({ cpus, devices }) => `${cpus} vCPUs, ${devices} devices`);
const ways = ["to the interim monitor", "to the successor"];
try {
  const times = new Map<string, number[]>();
  const counts = new Map<string, number[]>();
  const note = (rows: Map<string, number[]>, name: string, column: number, value: number) => {
    const row = rows.get(name) ?? [];
    row[column] = value;
    rows.set(name, row);
  };
  for (const [column, machine] of machines.entries()) {
    const updates = await update(machine, Number(flags.updates));
    for (const [index, way] of ways.entries()) {
      const pauses = updates.flatMap((pauses) => pauses[index] ?? []);
      note(times, `${way}: pause`, column, median(pauses.map(({ start, end }) => end - start)));
      for (const step of new Set(pauses.flatMap(({ steps }) => [...steps.keys()]))) {
        const values = pauses.map(({ steps }) => steps.get(step) ?? 0);
        note(times, `${way}: ${step}`, column, median(values));
      }
    }
    const traced = Number(flags.traced);
    if (traced === 0) continue;
    const file = `${folder}/strace`;
    const strace = [
      "strace",
      "-f",
      "-ttt",
      "-s",
      "200",
      "-e",
      "signal=none",
      "-o",
      file,
      "stdbuf",
      "-oL",
    ];
    const pauses = (await update(machine, traced, strace)).flat();
    for (const [name, count] of countsIn(Deno.readTextFileSync(file), pauses, traced)) {
      note(counts, name, column, count);
    }
  }
  printTable("microseconds, medians", names, times);
  const sum = (row: readonly number[]) => row.reduce((sum, value) => sum + (value ?? 0), 0);
  const most = [...counts].sort(([, one], [, other]) => sum(other) - sum(one));
  if (most.length > 0) printTable("in both pauses, per update", names, new Map(most));
} finally {
  Deno.removeSync(folder, { recursive: true });
}
