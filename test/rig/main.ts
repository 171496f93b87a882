/**
 * deno task test:rig: stock Linux in molt on AMD-V's semantics.
 *
 *   Debian packages -> images -> QEMU with a software CPU -> Debian's kernel, kvm-amd
 *   -> molt -> Debian's kernel -> results over a serial port -> a table
 */
import { cacheFolder, fetchPackages, peerQemuFolder } from "./packages.ts";
import { run, runForText } from "./commands.ts";
import { buildGuest, buildHost, buildWorker } from "./images.ts";
import { extractVmlinux } from "./kernel.ts";
import {
  Level1Error,
  type Level1Options,
  OuterMachineError,
  runLevel1,
  translatedCode,
} from "./level1.ts";
import { allTests, pieces } from "./plan.ts";
import type { Line, Result } from "./report.ts";
import { formatTables } from "./table.ts";

const root = new URL("../../", import.meta.url).pathname;

/** The value of an option of this program. */
function option(name: string): string | undefined {
  const start = `--${name}=`;
  return Deno.args.find((argument) => argument.startsWith(start))?.slice(start.length);
}

/** A machine that can be started for any tests. */
type Machine = Omit<Level1Options, "words">;

async function prepare(folder: string): Promise<Machine> {
  const packages = await fetchPackages(Deno.args.includes("--refresh"));
  await run(["sh", `${root}scripts/peer_qemu.sh`, "install"]);
  const file = (name: string) => `${folder}/${name}`;
  const vmlinux = file("vmlinux");
  await extractVmlinux(packages.kernel, packages.lz4, vmlinux);
  await compileMolt(file("molt"));
  await run(["sh", `${root}test/guests/build.sh`]);
  await run([
    ...[Deno.execPath(), "bundle", "--quiet", "--platform", "deno", "--output", file("driver.js")],
    `${root}test/rig/inside/driver.ts`,
  ]);
  await buildWorker(file("worker"));
  await buildGuest(packages, {
    folder: file("guest"),
    worker: file("worker"),
    initramfs: file("guest.initramfs"),
    disk: file("guest.ext4"),
  });
  const script = option("script");
  await buildHost(packages, {
    folder: file("host"),
    programs: {
      deno: Deno.execPath(),
      molt: file("molt"),
      passt: packages.passt,
      rig: file("worker"),
    },
    files: {
      "driver.js": file("driver.js"),
      "heartbeat.elf": `${root}build/guests/heartbeat.elf`,
      "guest.ext4": file("guest.ext4"),
      "guest.initramfs": file("guest.initramfs"),
      "vmlinux": vmlinux,
      "vmlinuz": packages.kernel,
      ...(script === undefined ? {} : { script }),
    },
    peerQemu: peerQemuFolder(),
    initramfs: file("host.initramfs"),
    disk: file("host.ext4"),
  });
  await Deno.remove(file("host"), { recursive: true });
  return {
    kernel: vmlinux,
    initramfs: file("host.initramfs"),
    disk: file("host.ext4"),
    folder,
    // A script says nothing there.
    silence: option("script") === undefined ? 300 : 3600,
  };
}

/** As on systems where Deno's own download site cannot be reached: see scripts/compile_kit.sh. */
async function compileMolt(output: string): Promise<void> {
  const given = Deno.env.get("MOLT");
  if (given !== undefined) return await Deno.copyFile(given, output);
  const kit = await runForText(["sh", `${root}scripts/compile_kit.sh`]);
  const env = Object.fromEntries(
    [...kit.matchAll(/(\w+)='([^']*)'/g)].map(([, name = "", value = ""]) => [name, value]),
  );
  await run(["sh", `${root}scripts/compile.sh`, output], {
    env: { ...env, DENO: Deno.execPath() },
  });
}

/** What the rig found so far. */
const results: Result[] = [];

/** Writes what the driver reports; returns a result as soon as there is one. */
function tell(line: Line): Result | undefined {
  if (line.kind === "begin") console.log(`${line.group}: ${line.name} ...`);
  if (line.kind === "step") console.log(`    ${line.text}`);
  if (line.kind === "log") console.log(`--- ${line.title}\n${line.text}\n---`);
  if (line.kind !== "result") return undefined;
  const { group, name, seconds, error } = line.result;
  console.log(`${group}: ${name}: ${error ?? "ok"} (${seconds.toFixed(1)} s)`);
  return line.result;
}

/** Runs tests in a machine. `done` is called with each result. */
async function runTests(
  level1: Machine,
  tests: readonly string[],
  done: (result: Result) => void,
): Promise<void> {
  const count = option("count") ?? (Deno.args.includes("--full") ? "10" : "1");
  const numbers = tests.map((name) => allTests.indexOf(name));
  const words = [`rig.count=${count}`, `rig.tests=${numbers.join(".")}`];
  for await (const line of runLevel1({ ...level1, words })) {
    const result = tell(line);
    if (result === undefined) continue;
    done(result);
    console.log(`    the emulator: ${await translatedCode(level1.folder)}`);
  }
}

/**
 * Runs a piece. If the outer machine itself fails, the tests that have no result yet are run in another
 * one, once. What failed in a machine that works stays failed.
 */
async function runPiece(level1: Machine, tests: readonly string[]): Promise<void> {
  const rest = [...tests];
  const done = (result: Result) => {
    results.push(result);
    rest.shift();
  };
  for (const again of [false, true]) {
    try {
      return await runTests(level1, rest, done);
    } catch (error) {
      console.error(await Deno.readTextFile(`${level1.folder}/console`).catch(() => ""));
      if (!(error instanceof Level1Error)) throw error;
      const lost = rest.length > 0 ? rest.join("; ") : "nothing";
      console.error(`\n*** ${error.name}: ${error.message}\n*** not tested: ${lost}`);
      if (error instanceof OuterMachineError && !again) {
        outerFailures.push(error.message);
        console.error("*** THE TESTS' MACHINE FAILED, NOT WHAT IS TESTED: once more from there\n");
        continue;
      }
      for (const test of rest) {
        const [group = "", name = ""] = test.split(/:(.*)/);
        results.push({ group, name, values: {}, seconds: 0, error: error.message });
      }
      return;
    }
  }
}

/** Outer machines that failed and were replaced. */
const outerFailures: string[] = [];

async function main(): Promise<number> {
  const only = option("only");
  // Who names tests may name any.
  const selection = only === undefined ? "CI" : "all";
  const plan = pieces(Deno.args.includes("--full") ? "full" : selection)
    .map((tests) => tests.filter((name) => name.includes(only ?? "")))
    .filter((tests) => tests.length > 0);
  await Deno.mkdir(cacheFolder(), { recursive: true });
  const folder = await Deno.makeTempDir({ prefix: "molt-rig-" });
  const started = performance.now();
  const passed = () => `${((performance.now() - started) / 1000).toFixed(0)} s`;
  try {
    const level1 = await prepare(folder);
    console.log(`prepared in ${passed()}`);
    if (option("script") !== undefined) return await runScript(level1);
    for (const tests of plan) await runPiece(level1, tests);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  console.log(formatTables(results));
  for (const message of outerFailures) console.log(`an outer machine was replaced: ${message}`);
  const failed = results.filter(({ error }) => error !== undefined).length;
  console.log(`rig | ${results.length - failed} passed | ${failed} failed | ${passed()}`);
  return failed === 0 && results.length > 0 ? 0 : 1;
}

/** Runs the script of --script in a machine and prints what was on its console. */
async function runScript(level1: Machine): Promise<number> {
  try {
    for await (const line of runLevel1({ ...level1, words: [] })) tell(line);
  } catch (error) {
    // It ends without the driver's report.
    if (!(error instanceof Level1Error)) throw error;
  }
  console.log(await Deno.readTextFile(`${level1.folder}/console`));
  return 0;
}

Deno.exit(await main());
