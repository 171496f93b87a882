/**
 * From the start of the monitor to the guest's first output, and the memory of an idle monitor, beside
 * QEMU's in the same run. The guest prints a line with its first instructions.
 *
 *   deno run -A bench/start.ts [--runs N] [--molt PROGRAM] [--qemu PROGRAM] [--qemu-bios FILE]
 *
 * QEMU boots the kernel through firmware; --qemu-bios qboot.rom takes the fastest it has.
 */
import { parseArgs } from "@std/cli/parse-args";

const root = new URL("..", import.meta.url).pathname;
const flags = parseArgs(Deno.args, {
  string: ["runs", "molt", "qemu", "qemu-bios"],
  default: {
    "runs": "10",
    "molt": `${Deno.execPath()} run --allow-ffi --allow-read ${root}main.ts`,
    "qemu": `sh ${root}scripts/peer_qemu.sh`,
    "qemu-bios": "qboot.rom",
  },
});
const folder = Deno.makeTempDirSync({ prefix: "molt-bench-" });

interface Start {
  /** Milliseconds from the start to the guest's first line. */
  readonly time: number;
  /** MiB of the process once the guest is idle, without the guest's own memory. */
  readonly memory: number;
}

async function measure(program: string, extra: readonly string[]): Promise<Start> {
  const serial = `${folder}/serial`;
  Deno.writeTextFileSync(serial, "");
  const [command = "", ...args] = [
    ...program.split(" "),
    ...["-M", "microvm,acpi=off", "-accel", "kvm", "-cpu", "host", "-m", "64M"],
    ...["-kernel", `${root}build/guests/idle.elf`, "-nodefaults", "-display", "none"],
    ...["-serial", `file:${serial}`],
    ...extra,
  ];
  const started = performance.now();
  const child = new Deno.Command(command, { args, stdin: "null" }).spawn();
  try {
    while (Deno.statSync(serial).size === 0) await new Promise((done) => setTimeout(done, 1));
    const time = performance.now() - started;
    await new Promise((done) => setTimeout(done, 500));
    return { time, memory: residentMemory(child.pid) };
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}

/** Private and file-backed memory in MiB: what the monitor costs besides the guest's RAM. */
function residentMemory(pid: number): number {
  const rollup = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
  const value = (name: string) => Number(rollup.match(new RegExp(`^${name}:\\s+(\\d+)`, "m"))?.[1]);
  return value("Pss") / 1024;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

try {
  const contenders = [
    { name: "molt", program: flags.molt, extra: [] },
    { name: "QEMU", program: flags.qemu, extra: ["-bios", flags["qemu-bios"]] },
  ].filter(({ program }) => program !== "none");
  const starts = new Map<string, Start[]>(contenders.map(({ name }) => [name, []]));
  for (let run = 0; run < Number(flags.runs); run++) {
    for (const { name, program, extra } of contenders) {
      starts.get(name)?.push(await measure(program, extra));
    }
  }
  console.log(`${"".padEnd(8)}${"first output".padStart(16)}${"memory when idle".padStart(20)}`);
  for (const [name, values] of starts) {
    const time = `${median(values.map(({ time }) => time)).toFixed(1)} ms`;
    const memory = `${median(values.map(({ memory }) => memory)).toFixed(1)} MiB`;
    console.log(`${name.padEnd(8)}${time.padStart(16)}${memory.padStart(20)}`);
  }
} finally {
  Deno.removeSync(folder, { recursive: true });
}
