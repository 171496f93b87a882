/**
 * The demo: a guest that keeps dirtying and verifying its memory lives on while the monitor under it
 * is replaced three times by cpr-exec, by another build of molt and back. Everything it does is what a user
 * could type; it says so. Exit status 0 only if every check held.
 */
import { HeartbeatCheck } from "../test/guests/heartbeat.ts";
import { QmpClient } from "../src/qmp_client/mod.ts";
import { demoOptions, nextSteps } from "./lib/demo_machine.ts";

const UPDATES = 3;
/**
 * How long the guest is watched at least with an update, and before it without one: for as long as the update
 * before has taken, and the first takes longest.
 */
const WATCH_MS = 2000;
const FIRST_WATCH_MS = 3000;
const root = new URL("..", import.meta.url).pathname;
const folder = Deno.makeTempDirSync({ prefix: "molt-demo-" });
const serialFile = `${folder}/serial`;
const qmpSocket = `${folder}/qmp.sock`;
const serialChardev = `file,id=serial0,path=${serialFile},append=on`;

/** Starts the machine with the molt in the folder `program`. */
const commandOf = (program: string) => [
  Deno.execPath(),
  ...["run", "--allow-ffi", "--allow-read", `${program}main.ts`],
  ...demoOptions({ root, serial: serialChardev, qmp: qmpSocket }),
];

/** What a release changes at least: its version. */
const VERSION_LINE = /^export const version = "(.*)";$/m;

/** Makes the next release of this molt in a folder of its own. Returns the folder. */
async function makeNextBuild(): Promise<string> {
  const next = `${folder}/next/`;
  Deno.mkdirSync(next);
  const { success, stderr } = await new Deno.Command("cp", {
    args: ["-r", ...["main.ts", "src", "deno.json", "deno.lock"].map((name) => root + name), next],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  Deno.symlinkSync(`${root}build`, `${next}build`);
  const file = `${next}src/version.ts`;
  const text = Deno.readTextFileSync(file);
  if (!VERSION_LINE.test(text)) throw new Error(`${file} has no version`);
  Deno.writeTextFileSync(file, text.replace(VERSION_LINE, 'export const version = "$1-next";'));
  return next;
}

/** The guest's longest gap in a time: milliseconds, of both. */
interface Gap {
  readonly longest: number;
  readonly watched: number;
}

/** One replacement of the monitor, as it was seen from outside and from inside. */
interface Update {
  readonly before: Monitor;
  readonly after: Monitor;
  readonly generation: number;
  /** Milliseconds, by the monitors' clocks: all the time that the guest was paused. */
  readonly hostPause: number;
  /** By the guest's own time stamp counter: the longest time in which one of its CPUs did not run. */
  readonly guestGap: Gap;
  /** The same without an update, just before it. */
  readonly quietGap: Gap;
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

  /** Watches for some time, of which `during` is a part; for longer if that takes longer. */
  async watch(milliseconds: number, during?: () => Promise<void>): Promise<Gap> {
    this.read();
    this.#longestGap = 0;
    const begin = performance.now();
    await during?.();
    do {
      await new Promise((done) => setTimeout(done, 50));
      this.read();
    } while (performance.now() - begin < milliseconds);
    return { longest: this.#longestGap, watched: performance.now() - begin };
  }
}

interface Monitor {
  readonly generation: number;
  readonly pid: number;
  readonly version: string;
  /** The commit, of a compiled molt. */
  readonly build?: string;
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

async function update(
  guest: Guest,
  command: readonly string[],
  quietMs: number,
): Promise<Update> {
  const quietGap = await guest.watch(quietMs);
  const before = await askMonitor();
  const beatsBefore = guest.check.beats;
  let after = before;
  const guestGap = await guest.watch(WATCH_MS, async () => {
    {
      await using qmp = await connect();
      await qmp.execute("migrate-set-parameters", {
        "mode": "cpr-exec",
        "cpr-exec-command": [...command],
      });
      await qmp.executeUntyped("migrate");
      await qmp.closed;
    }
    after = await askMonitor();
  });
  const pauses = after.pauses ?? [];
  return {
    before,
    after,
    generation: after.generation,
    hostPause: pauses.reduce((sum, pause) => sum + pause, 0) / 1000,
    guestGap,
    quietGap,
    beatsBefore,
    beatsAfter: guest.check.beats,
  };
}

/** Which molt it is. */
function nameOf({ version, build }: Monitor): string {
  return build === undefined || build === "source" ? version : `${version} (${build})`;
}

/** What did not hold; empty if everything did. */
function findProblems(updates: readonly Update[], guest: Guest): string[] {
  const problems = [...guest.check.problems];
  updates.forEach((update, index) => {
    const number = index + 1;
    const { before, after } = update;
    if (before.pid !== after.pid) problems.push(`update ${number}: the PID changed`);
    if (update.generation !== number) {
      problems.push(`update ${number}: the monitor was not replaced`);
    }
    if (nameOf(before) === nameOf(after)) {
      problems.push(`update ${number}: it is the same build, ${nameOf(after)}`);
    }
    if (update.beatsAfter <= update.beatsBefore) {
      problems.push(`update ${number}: the guest printed nothing after it`);
    }
  });
  return problems;
}

function report(update: Update): void {
  const { before, after, hostPause, guestGap, quietGap } = update;
  const seconds = ({ watched }: Gap) => `${(watched / 1000).toFixed(1)} s`;
  console.log(`  PID ${before.pid} -> ${after.pid}: the process is the same`);
  console.log(`  molt ${nameOf(before)} -> ${nameOf(after)}: its program is another build`);
  console.log(
    `  paused ${hostPause.toFixed(1)} ms: how long the monitors kept the guest's CPUs stopped, ` +
      "by the host's clock",
  );
  console.log(
    `  longest gap ${guestGap.longest.toFixed(1)} ms in ${seconds(guestGap)} with the update, ` +
      `${quietGap.longest.toFixed(1)} ms in ${seconds(quietGap)} before it without one:\n` +
      "    how long one of its CPUs did not run, for whatever reason, by its own counter",
  );
}

function printTable(updates: readonly Update[]): void {
  const rows = [
    ["update", "PID", "before", "after", "paused", "longest gap", "without update", "beats after"],
    ...updates.map((update) => [
      String(update.generation),
      String(update.after.pid),
      nameOf(update.before),
      nameOf(update.after),
      `${update.hostPause.toFixed(1)} ms`,
      `${update.guestGap.longest.toFixed(1)} ms`,
      `${update.quietGap.longest.toFixed(1)} ms`,
      String(update.beatsAfter - update.beatsBefore),
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  for (const row of rows) {
    console.log(`  ${row.map((cell, i) => cell.padStart(widths[i]!)).join("   ")}`);
  }
  console.log(
    "\n  A gap is longer than the pause where other programs of the host run in the guest's place: " +
      "compare it with\n  the one without an update.",
  );
}

const next = `
  Try next, in the project's folder, with a guest of your own in place of this one:

${nextSteps().map((command) => `    ${command}`).join("\n")}`;

async function demo(): Promise<boolean> {
  const command = commandOf(root);
  const nextBuild = await makeNextBuild();
  console.log(`Starting a guest with 2 vCPUs and 512 MiB:\n\n  ${command.join(" ")}\n`);
  const child = new Deno.Command(command[0] ?? "", {
    args: command.slice(1),
    stdin: "null",
  }).spawn();
  const guest = new Guest();
  const updates: Update[] = [];
  try {
    const first = await askMonitor();
    console.log(`  molt ${nameOf(first)} runs as PID ${first.pid}.`);
    for (let number = 1; number <= UPDATES; number++) {
      const program = number % 2 === 1 ? nextBuild : root;
      console.log(
        `\nUpdate ${number}: QMP migrate-set-parameters mode=cpr-exec, migrate, to the molt in ` +
          program,
      );
      const quietMs = updates.at(-1)?.guestGap.watched ?? FIRST_WATCH_MS;
      const done = await update(guest, commandOf(program), quietMs);
      updates.push(done);
      report(done);
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
    `\n  ${beats} heartbeats, none missing, ${last?.pages.toLocaleString("en") ?? 0} pages ` +
      `verified, ${last?.errors ?? 0} errors`,
  );
  for (const problem of problems) console.log(`  FAILED: ${problem}`);
  console.log(
    problems.length === 0 ? `\n  The guest lived on.\n${next}` : "\n  Not every check held.",
  );
  return problems.length === 0;
}

let held = false;
try {
  held = await demo();
} finally {
  Deno.removeSync(folder, { recursive: true });
}
Deno.exit(held ? 0 : 1);
