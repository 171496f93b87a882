/**
 * What monitors cost in memory: the private memory of each of N idle molts (or QEMUs), by what it is for.
 *
 *   deno run -A bench/memory.ts [--count N] [--idle SECONDS] [--memory MIB] [--update] [--molt PROGRAM]
 *
 * Each guest has had one QMP session with query-migrate and, with `--update`, one live update by cpr-exec; then
 * nothing happens for `--idle` seconds. From /proc/PID/smaps: private pages of the guest's RAM (a memfd that is
 * mapped shared) are named apart from the monitor's own. `anonymous` is private whatever the page cache does;
 * `resident` has the program's file and libraries too, which all monitors share.
 */
import { parseArgs } from "@std/cli/parse-args";
import { QmpClient } from "../src/qmp_client/mod.ts";

const root = new URL("..", import.meta.url).pathname;
const flags = parseArgs(Deno.args, {
  string: ["count", "idle", "memory", "molt"],
  boolean: ["update"],
  default: { count: "1", idle: "60", memory: "64", molt: `${root}dist/molt` },
});
const folder = Deno.makeTempDirSync({ prefix: "molt-bench-" });

/** Kilobytes of a process. */
interface Memory {
  /** Private and in no file: the monitor's own. */
  anonymous: number;
  /** Private pages of files: what only this process maps now. */
  privateFile: number;
  /** Everything but the guest's RAM. */
  resident: number;
  /** The guest's RAM that is there. */
  guest: number;
}

function memoryOf(pid: number): Memory {
  const memory: Memory = { anonymous: 0, privateFile: 0, resident: 0, guest: 0 };
  let guest = false;
  for (const line of Deno.readTextFileSync(`/proc/${pid}/smaps`).split("\n")) {
    const mapping = /^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)/.exec(line);
    if (mapping) guest = mapping[1]?.startsWith("/memfd:memory-backend-memfd") ?? false;
    const [, name = "", size = "0"] = /^(\w+): +(\d+) kB/.exec(line) ?? [];
    const value = Number(size);
    if (name === "Rss") memory[guest ? "guest" : "resident"] += value;
    if (guest) continue;
    if (name === "Anonymous") memory.anonymous += value;
    if (name === "Private_Clean" || name === "Private_Dirty") memory.privateFile += value;
  }
  memory.privateFile -= memory.anonymous;
  return memory;
}

function commandOf(socket: string): string[] {
  const memory = `${flags.memory}M`;
  return [
    ...flags.molt.split(" "),
    ...["-M", "microvm,memory-backend=ram0,aux-ram-share=on,acpi=off", "-accel", "kvm"],
    ...["-object", `memory-backend-memfd,id=ram0,size=${memory},share=on`],
    ...["-cpu", "host", "-m", memory, "-kernel", `${root}build/guests/idle.elf`],
    ...["-nodefaults", "-display", "none", "-qmp", `unix:${socket},server=on,wait=off`],
  ];
}

async function start(index: number): Promise<Deno.ChildProcess> {
  const socket = `${folder}/${index}`;
  const command = commandOf(socket);
  const [program = "", ...args] = command;
  const child = new Deno.Command(program, { args, stdin: "null" }).spawn();
  const connect = () =>
    QmpClient.connect(socket, { wait: true, signal: AbortSignal.timeout(120_000) });
  await using qmp = await connect();
  await qmp.executeUntyped("query-migrate");
  if (!flags.update) return child;
  await qmp.execute("migrate-set-parameters", { "mode": "cpr-exec", "cpr-exec-command": command });
  await qmp.executeUntyped("migrate");
  await qmp.closed;
  await using after = await connect();
  await after.executeUntyped("query-migrate");
  return child;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

const children: Deno.ChildProcess[] = [];
try {
  for (let index = 0; index < Number(flags.count); index++) children.push(await start(index));
  await new Promise((done) => setTimeout(done, Number(flags.idle) * 1000));
  const all = children.map(({ pid }) => memoryOf(pid));
  const what = flags.update ? "one session, one update" : "one session";
  console.log(
    `${all.length} guests of ${flags.memory} MiB, ${what}, ${flags.idle} s idle; MiB each`,
  );
  for (const name of ["anonymous", "privateFile", "resident", "guest"] as const) {
    const values = all.map((memory) => memory[name] / 1024);
    const [middle, most] = [median(values), Math.max(...values)].map((value) => value.toFixed(1));
    console.log(`${name.padEnd(14)}median ${middle?.padStart(6)}   most ${most?.padStart(6)}`);
  }
} finally {
  for (const child of children) {
    child.kill("SIGKILL");
    await child.status;
  }
  Deno.removeSync(folder, { recursive: true });
}
