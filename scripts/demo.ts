/**
 * The demo: a guest that keeps dirtying and verifying its memory lives on while the monitor under it
 * is replaced three times by cpr-exec. Everything it does is what a user could type; it says so.
 * Exit status 0 only if every check held.
 */
import { HeartbeatCheck } from "../test/guests/heartbeat.ts";
import { QmpClient } from "../src/qmp_client/mod.ts";

const UPDATES = 3;
/** How long the guest is watched before, between and after updates. */
const WATCH_MS = 1500;
const root = new URL("..", import.meta.url).pathname;
const folder = Deno.makeTempDirSync({ prefix: "molt-demo-" });
const serialFile = `${folder}/serial`;
const qmpSocket = `${folder}/qmp.sock`;

const command = [
  Deno.execPath(),
  ...["run", "--allow-ffi", "--allow-read", `${root}main.ts`],
  ...["-M", "microvm,memory-backend=ram0,aux-ram-share=on", "-accel", "kvm"],
  ...["-object", "memory-backend-memfd,id=ram0,size=512M,share=on", "-m", "512M", "-smp", "2"],
  ...["-kernel", `${root}build/guests/heartbeat.elf`, "-append", "memory=64 period=100"],
  ...["-nodefaults", "-display", "none"],
  ...["-chardev", `file,id=serial0,path=${serialFile},append=on`, "-serial", "chardev:serial0"],
  ...["-qmp", `unix:${qmpSocket},server=on,wait=off`],
];

/** One replacement of the monitor, as it was seen from outside and from inside. */
interface Update {
  readonly pidBefore: number;
  readonly pidAfter: number;
  readonly generation: number;
  /** Milliseconds, by the monitors' clocks: all the time that the guest was paused. */
  readonly hostPause: number;
  /** Milliseconds, by the guest's own time stamp counter: its longest gap around the update. */
  readonly guestPause: number;
  readonly beatsBefore: number;
  readonly beatsAfter: number;
}

/** Follows the guest's serial output. */
class Guest {
  readonly check = new HeartbeatCheck();
  readonly #decoder = new TextDecoder();
  #offset = 0;
  /** The longest gap since it was last asked for, in ms. */
  #longestGap = 0;

  /** Reads what the guest printed since the last call and shows each fifth beat. */
  read(): void {
    using file = Deno.openSync(serialFile);
    file.seekSync(this.#offset, Deno.SeekMode.Start);
    const buffer = new Uint8Array(1 << 16);
    const count = file.readSync(buffer) ?? 0;
    this.#offset += count;
    const text = this.#decoder.decode(buffer.subarray(0, count), { stream: true });
    for (const beat of this.check.feed(text)) {
      this.#longestGap = Math.max(this.#longestGap, ...beat.gaps.map((gap) => gap / 1e6));
      if (beat.number % 5 !== 0) continue;
      const clock = Number(beat.clock ?? 0n) / 1e9;
      console.log(
        `    guest: beat ${String(beat.number).padStart(4)}   its clock ${clock.toFixed(2)} s   ` +
          `${beat.pages.toLocaleString("en")} pages verified   ${beat.errors} errors`,
      );
    }
  }

  async watch(milliseconds: number): Promise<void> {
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      await new Promise((done) => setTimeout(done, 50));
      this.read();
    }
  }

  takeLongestGap(): number {
    const gap = this.#longestGap;
    this.#longestGap = 0;
    return gap;
  }
}

interface Monitor {
  readonly generation: number;
  readonly pid: number;
  /** Microseconds; absent before the first update. */
  readonly pauses?: readonly number[];
}

/** Asks a monitor that has the guest: one that has just started answers before. */
async function askMonitor(): Promise<Monitor> {
  await using qmp = await connect();
  while (!(await qmp.execute("query-status")).running) {
    await new Promise((done) => setTimeout(done, 10));
  }
  return await qmp.executeUntyped("x-query-update") as Monitor;
}

function connect(): Promise<QmpClient> {
  return QmpClient.connect(qmpSocket, { wait: true, signal: AbortSignal.timeout(20_000) });
}

async function update(guest: Guest): Promise<Update> {
  const before = await askMonitor();
  guest.takeLongestGap();
  const beatsBefore = guest.check.beats;
  {
    await using qmp = await connect();
    await qmp.execute("migrate-set-parameters", {
      "mode": "cpr-exec",
      "cpr-exec-command": command,
    });
    await qmp.executeUntyped("migrate");
    await qmp.closed;
  }
  const after = await askMonitor();
  await guest.watch(WATCH_MS);
  const pauses = after.pauses ?? [];
  return {
    pidBefore: before.pid,
    pidAfter: after.pid,
    generation: after.generation,
    hostPause: pauses.reduce((sum, pause) => sum + pause, 0) / 1000,
    guestPause: guest.takeLongestGap(),
    beatsBefore,
    beatsAfter: guest.check.beats,
  };
}

/** What did not hold; empty if everything did. */
function findProblems(updates: readonly Update[], guest: Guest): string[] {
  const problems = [...guest.check.problems];
  updates.forEach((update, index) => {
    const number = index + 1;
    if (update.pidBefore !== update.pidAfter) problems.push(`update ${number}: the PID changed`);
    if (update.generation !== number) {
      problems.push(`update ${number}: the monitor was not replaced`);
    }
    if (update.beatsAfter <= update.beatsBefore) {
      problems.push(`update ${number}: the guest printed nothing after it`);
    }
  });
  return problems;
}

function printTable(updates: readonly Update[]): void {
  const rows = [
    ["update", "PID before", "PID after", "pause by host", "pause by guest", "beats after"],
    ...updates.map((update) => [
      String(update.generation),
      String(update.pidBefore),
      String(update.pidAfter),
      `${update.hostPause.toFixed(1)} ms`,
      `${update.guestPause.toFixed(1)} ms`,
      String(update.beatsAfter - update.beatsBefore),
    ]),
  ];
  for (const row of rows) console.log(`  ${row.map((cell) => cell.padStart(17)).join("")}`);
}

async function demo(): Promise<boolean> {
  console.log(`Starting a guest with 2 vCPUs and 512 MiB:\n\n  ${command.join(" ")}\n`);
  const child = new Deno.Command(command[0] ?? "", {
    args: command.slice(1),
    stdin: "null",
  }).spawn();
  const guest = new Guest();
  const updates: Update[] = [];
  try {
    const first = await askMonitor();
    console.log(`  molt runs as PID ${first.pid}.`);
    await guest.watch(WATCH_MS);
    for (let number = 1; number <= UPDATES; number++) {
      console.log(`\nUpdate ${number}: QMP migrate-set-parameters mode=cpr-exec, migrate`);
      const done = await update(guest);
      updates.push(done);
      console.log(
        `  PID ${done.pidBefore} -> ${done.pidAfter}, monitor ${done.generation - 1} -> ` +
          `${done.generation}, guest paused ${done.hostPause.toFixed(1)} ms by the host's clock, ` +
          `${done.guestPause.toFixed(1)} ms by its own`,
      );
    }
  } finally {
    try {
      await using qmp = await connect();
      await qmp.execute("quit");
    } catch {
      child.kill("SIGKILL");
    }
    await child.status;
  }
  guest.read();
  console.log();
  printTable(updates);
  const problems = updates.length === UPDATES ? findProblems(updates, guest) : ["it was cut short"];
  const { last, beats } = guest.check;
  console.log(
    `\n  ${beats} heartbeats without a gap, ${last?.pages.toLocaleString("en") ?? 0} pages ` +
      `verified, ${last?.errors ?? 0} errors`,
  );
  for (const problem of problems) console.log(`  FAILED: ${problem}`);
  console.log(problems.length === 0 ? "\n  The guest lived on." : "\n  Not every check held.");
  return problems.length === 0;
}

let held = false;
try {
  held = await demo();
} finally {
  Deno.removeSync(folder, { recursive: true });
}
Deno.exit(held ? 0 : 1);
