/**
 * The pause of a cpr-exec update, as the guest saw it: the longest gap between two readings of its
 * time stamp counter. molt's is broken into parts; QEMU's figure comes from the same run. While molt
 * executes its successor (exec, start, build) the guest runs on with an interim monitor. With --uri the state
 * is also written to a file, as QEMU's.
 *
 *   deno task bench [--updates N] [--memory MIB] [--molt PROGRAM] [--qemu PROGRAM] [--uri]
 *
 * PROGRAM is a command, split at blanks. Without --molt the sources are run; `--qemu none` leaves QEMU
 * out. The guest spins, so that a gap is never the guest's own idling.
 */
import { parseArgs } from "@std/cli/parse-args";
import { HeartbeatCheck } from "../test/guests/heartbeat.ts";
import { QmpClient } from "../src/qmp_client/mod.ts";

const root = new URL("..", import.meta.url).pathname;
const flags = parseArgs(Deno.args, {
  string: ["updates", "memory", "molt", "qemu"],
  boolean: ["uri"],
  default: {
    updates: "20",
    memory: "512",
    molt: `${Deno.execPath()} run --allow-ffi --allow-read ${root}main.ts`,
    qemu: `sh ${root}scripts/peer_qemu.sh`,
  },
});
const updates = Number(flags.updates);
const folder = Deno.makeTempDirSync({ prefix: "molt-bench-" });

/** A monitor to measure: how it is started, and how its successor is. */
interface Contender {
  readonly name: string;
  readonly program: readonly string[];
  /** Further arguments of every start. */
  readonly extra: readonly string[];
  /** Where the stream goes; undefined: it stays in memory. */
  readonly stream: string | undefined;
}

/** What was measured: milliseconds, one for each update. */
interface Measured {
  readonly name: string;
  readonly pauses: readonly number[];
  /** molt's own account, by part. */
  readonly parts: Readonly<Record<string, readonly number[]>>;
}

function machine(contender: Contender, serial: string, socket: string): string[] {
  const memory = `${flags.memory}M`;
  return [
    ...contender.program,
    ...["-M", "microvm,memory-backend=ram0,aux-ram-share=on,acpi=off", "-accel", "kvm"],
    ...["-cpu", "host", "-m", memory, "-smp", "2"],
    ...["-object", `memory-backend-memfd,id=ram0,size=${memory},share=on`],
    ...["-kernel", `${root}build/guests/heartbeat.elf`],
    ...["-append", "memory=16 rate=20 spin=1 period=20"],
    ...["-nodefaults", "-display", "none"],
    ...["-chardev", `file,id=s0,path=${serial},append=on`, "-serial", "chardev:s0"],
    ...["-qmp", `unix:${socket},server=on,wait=off`],
    ...contender.extra,
  ];
}

/** The gaps of the beats that came since the last call, in ms. */
class Gaps {
  readonly #check = new HeartbeatCheck();
  #offset = 0;

  constructor(readonly path: string) {}

  read(): number[] {
    const bytes = Deno.readFileSync(this.path);
    const text = new TextDecoder().decode(bytes.subarray(this.#offset));
    this.#offset = bytes.length;
    const gaps = this.#check.feed(text).map(({ gaps }) => Math.max(...gaps) / 1e6);
    const [problem] = this.#check.problems;
    if (problem !== undefined) throw new Error(`the guest did not live on: ${problem}`);
    return gaps;
  }

  /** Waits until some beats have come and returns the longest gap since the last call. */
  async longest(beats: number): Promise<number> {
    const gaps: number[] = [];
    while (gaps.length < beats) {
      await new Promise((done) => setTimeout(done, 20));
      gaps.push(...this.read());
    }
    return Math.max(...gaps);
  }
}

function connect(socket: string): Promise<QmpClient> {
  return QmpClient.connect(socket, { wait: true, signal: AbortSignal.timeout(60_000) });
}

async function measure(contender: Contender): Promise<Measured> {
  const serial = `${folder}/${contender.name}.serial`;
  const socket = `${folder}/${contender.name}.qmp`;
  const command = machine(contender, serial, socket);
  const child = new Deno.Command(command[0] ?? "", { args: command.slice(1), stdin: "null" })
    .spawn();
  const pauses: number[] = [];
  const parts: Record<string, number[]> = {};
  try {
    (await connect(socket))[Symbol.dispose]();
    const gaps = new Gaps(serial);
    await gaps.longest(20);
    for (let update = 0; update < updates; update++) {
      {
        await using qmp = await connect(socket);
        const incoming = contender.stream ? ["-incoming", `file:${contender.stream}`] : [];
        await qmp.execute("migrate-set-parameters", {
          "mode": "cpr-exec",
          "cpr-exec-command": [...command, ...incoming],
        });
        gaps.read();
        await qmp.executeUntyped(
          "migrate",
          contender.stream ? { uri: `file:${contender.stream}` } : {},
        );
        await qmp.closed;
      }
      pauses.push(await gaps.longest(10));
      if (contender.name === "molt") {
        await using qmp = await connect(socket);
        const { pauses, parts: times } = await qmp.executeUntyped("x-query-update") as {
          pauses: number[];
          parts: Record<string, number>;
        };
        const stood = { "paused by the host": pauses.reduce((sum, us) => sum + us, 0) };
        for (const [part, us] of Object.entries({ ...stood, ...times })) {
          (parts[part] ??= []).push(us / 1000);
        }
      }
    }
    await using qmp = await connect(socket);
    await qmp.execute("quit");
    await child.status;
    return { name: contender.name, pauses, parts };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

/** The value below which `share` of the values lie. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}

function printRow(name: string, values: readonly number[]): void {
  const cell = (value: number) => `${value.toFixed(2)} ms`.padStart(12);
  const [median, p99] = [quantile(values, 0.5), quantile(values, 0.99)];
  console.log(`${name.padEnd(24)}${cell(median)}${cell(p99)}${cell(Math.min(...values))}`);
}

try {
  const contenders: Contender[] = [
    {
      name: "molt",
      program: flags.molt.split(" "),
      extra: [],
      stream: flags.uri ? `${folder}/molt.state` : undefined,
    },
  ];
  if (flags.qemu !== "none") {
    contenders.push({
      name: "QEMU",
      program: flags.qemu.split(" "),
      extra: [],
      stream: `${folder}/qemu.state`,
    });
  }
  const measured: Measured[] = [];
  for (const contender of contenders) measured.push(await measure(contender));
  console.log(`cpr-exec, ${flags.memory} MiB, 2 vCPUs, ${updates} updates: the guest's pause`);
  console.log(`${"".padEnd(24)}${["median", "p99", "min"].map((s) => s.padStart(12)).join("")}`);
  for (const { name, pauses, parts } of measured) {
    printRow(name, pauses);
    for (const [part, values] of Object.entries(parts)) printRow(`  ${part}`, values);
  }
  const [molt, qemu] = measured;
  if (molt && qemu) {
    const ratio = quantile(molt.pauses, 0.5) / quantile(qemu.pauses, 0.5);
    console.log(`molt's median is ${ratio.toFixed(2)} of QEMU's`);
  }
} finally {
  Deno.removeSync(folder, { recursive: true });
}
