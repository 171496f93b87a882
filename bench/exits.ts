/**
 * What an exit to a device register costs the guest and the host, beside QEMU's in the same run.
 *
 *   deno run -A bench/exits.ts [--rounds N] [--count N] [--busy N] [--molt PROGRAM] [--qemu PROGRAM]
 *                              [--before PROGRAM] [--qemu-bios FILE]
 *
 * `--before` is a third program, such as an older molt; `none` leaves one out. `--busy` starts so many
 * other programs that keep processors busy. Cycles are the guest's time stamp counter's.
 */
import { parseArgs } from "@std/cli/parse-args";
import { TextLineStream } from "@std/streams";

const root = new URL("..", import.meta.url).pathname;
const flags = parseArgs(Deno.args, {
  string: ["rounds", "count", "busy", "molt", "before", "qemu", "qemu-bios"],
  default: {
    "rounds": "5",
    "count": "20000",
    "busy": "0",
    "molt": `${Deno.execPath()} run --allow-ffi --allow-read ${root}main.ts`,
    "before": "none",
    "qemu": `sh ${root}scripts/peer_qemu.sh`,
    "qemu-bios": "qboot.rom",
  },
});
const kinds = ["port-read", "port-write", "mmio-read", "mmio-write", "string-read"] as const;
const rounds = Number(flags.rounds);
const count = Number(flags.count);

/** What one program needed. */
interface Cost {
  /** Cycles an access, by kind, one value a round. */
  readonly cycles: ReadonlyMap<string, readonly number[]>;
  /** Microseconds of processor time an access, of all kinds together. */
  readonly processor: number;
}

/** User and system time of a process in microseconds. */
function processorTime(pid: number): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

async function measure(program: string, extra: readonly string[]): Promise<Cost> {
  const [command = "", ...args] = [
    ...program.split(" "),
    ...["-M", "microvm,acpi=off", "-accel", "kvm", "-cpu", "host", "-m", "64M"],
    ...["-kernel", `${root}build/guests/exits.elf`, "-append", `count=${count}`],
    ...["-nodefaults", "-display", "none", "-serial", "stdio"],
    ...extra,
  ];
  const child = new Deno.Command(command, { args, stdin: "null", stdout: "piped" }).spawn();
  const cycles = new Map<string, number[]>(kinds.map((kind) => [kind, []]));
  let begun = 0;
  let ended = 0;
  try {
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(
      new TextLineStream(),
    );
    for await (const line of lines as ReadableStream<string>) {
      const [, kind = "", value = ""] = line.match(/^exits (\S+) (\d+)$/) ?? [];
      const values = cycles.get(kind);
      if (values === undefined) continue;
      values.push(Number(value) / count);
      if (kind !== kinds.at(-1)) continue;
      // The first round warms up.
      if (values.length === 1) begun = processorTime(child.pid);
      if (values.length > rounds) {
        ended = processorTime(child.pid);
        break;
      }
    }
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
  return {
    cycles: new Map([...cycles].map(([kind, values]) => [kind, values.slice(1, 1 + rounds)])),
    processor: (ended - begun) / (rounds * count * kinds.length),
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

const contenders = [
  { name: "QEMU", program: flags.qemu, extra: ["-bios", flags["qemu-bios"]] },
  { name: "before", program: flags.before, extra: [] },
  { name: "molt", program: flags.molt, extra: [] },
].filter(({ program }) => program !== "none");
const busy = Array.from(
  { length: Number(flags.busy) },
  () => new Deno.Command("sh", { args: ["-c", "while :; do :; done"] }).spawn(),
);
try {
  const costs = new Map<string, Cost>();
  for (const { name, program, extra } of contenders) costs.set(name, await measure(program, extra));
  const [[first, reference] = ["", undefined]] = costs;
  const row = (cells: readonly string[]) =>
    console.log(cells.map((cell, i) => i === 0 ? cell.padEnd(14) : cell.padStart(18)).join(""));
  row(["cycles", ...costs.keys(), ...(costs.size > 1 ? [`last / ${first}`] : [])]);
  const last = [...costs.values()].at(-1);
  const ratio = (mine: number, other: number) => costs.size > 1 ? [(mine / other).toFixed(2)] : [];
  for (const kind of kinds) {
    const of = (cost: Cost | undefined) => median(cost?.cycles.get(kind) ?? []);
    row([
      kind,
      ...[...costs.values()].map((cost) => of(cost).toFixed(0)),
      ...ratio(of(last), of(reference)),
    ]);
  }
  row([
    "processor",
    ...[...costs.values()].map(({ processor }) => `${processor.toFixed(2)} us`),
    ...ratio(last?.processor ?? NaN, reference?.processor ?? NaN),
  ]);
} finally {
  for (const child of busy) {
    child.kill("SIGKILL");
    await child.status;
  }
}
