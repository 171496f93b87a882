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
import { checkoutFolder, copyCheckout } from "./checkout.ts";
import { allTests, checkoutTests, pieces } from "./plan.ts";
import type { Line, Result } from "./report.ts";
import { formatTables } from "./table.ts";

const root = new URL("../../", import.meta.url).pathname;

/** The value of an option of this program. */
function option(name: string): string | undefined {
  const start = `--${name}=`;
  return Deno.args.find((argument) => argument.startsWith(start))?.slice(start.length);
}

/** What an outer machine may take: its 3 GiB, the code that the emulator makes of its, and the rest. */
const MACHINE_MEMORY = 5.5 * (1 << 30);

/** A machine that can be started for any tests. */
type Machine = Omit<Level1Options, "words">;

/** Builds everything in `folder`, with the checkout if any of its `testFiles` are to be run. */
async function prepare(folder: string, testFiles: readonly string[]): Promise<Machine> {
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
      prlimit: await programPath("prlimit"),
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
    addCheckout: async (tree) => {
      if (testFiles.length > 0) await copyCheckout(tree, testFiles);
    },
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
    silence: option("script") === undefined && testFiles.length === 0 ? 300 : 3600,
  };
}

/** Where the host has a program of its own that tests use. */
async function programPath(name: string): Promise<string> {
  return (await runForText(["sh", "-c", `command -v ${name}`])).trim();
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

/** Writes what the driver reports of its tests. */
class Narrator {
  #test = "";

  /** Returns a result as soon as there is one. */
  report(line: Line): Result | undefined {
    if (line.kind === "begin") {
      this.#test = `${line.group}: ${line.name}`;
      console.log(`${this.#test} ...`);
    }
    // Other machines' lines may be between this one and its test's first.
    if (line.kind === "step") console.log(`${this.#test}: ${line.text}`);
    if (line.kind === "log") console.log(`--- ${line.title}\n${line.text}\n---`);
    if (line.kind !== "result") return undefined;
    const { seconds, error } = line.result;
    console.log(`${this.#test}: ${error ?? "ok"} (${seconds.toFixed(1)} s)`);
    return line.result;
  }
}

/** Runs tests in a machine. `done` is called with each result. */
async function runTests(
  level1: Machine,
  tests: readonly string[],
  done: (result: Result) => void,
): Promise<void> {
  const count = option("count") ?? (Deno.args.includes("--full") ? "10" : "1");
  const numbers = tests.map((name) => allTests.indexOf(name));
  const words = [
    ...[`rig.count=${count}`, `rig.tests=${numbers.join(".")}`],
    `rig.checkout=${checkoutFolder}`,
  ];
  const narrator = new Narrator();
  for await (const line of runLevel1({ ...level1, words })) {
    const result = narrator.report(line);
    if (result === undefined) continue;
    done(result);
    console.log(`    its emulator: ${await translatedCode(level1.folder)}`);
  }
}

/**
 * Runs a piece and returns its results. If the outer machine itself fails, the tests that have no result
 * yet are run in another one, once. What failed in a machine that works stays failed.
 */
async function runPiece(level1: Machine, tests: readonly string[]): Promise<Result[]> {
  const results: Result[] = [];
  const rest = [...tests];
  const done = (result: Result) => {
    results.push(result);
    rest.shift();
  };
  for (const again of [false, true]) {
    try {
      await runTests(level1, rest, done);
      break;
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
      break;
    }
  }
  return results;
}

/** How many outer machines this host can run at once: each keeps one processor busy. */
function machinesAtOnce(): number {
  const fit = Math.floor(Deno.systemMemoryInfo().available / MACHINE_MEMORY);
  return Math.max(1, Math.min(navigator.hardwareConcurrency, fit));
}

/** Runs pieces, several at once, and returns all results in the pieces' order. */
async function runPieces(
  level1: Machine,
  plan: readonly (readonly string[])[],
): Promise<Result[]> {
  const results: Result[][] = [];
  const waiting = plan.entries();
  const work = async () => {
    for (const [index, tests] of waiting) {
      const folder = `${level1.folder}/${index}`;
      await Deno.mkdir(folder);
      results[index] = await runPiece({ ...level1, folder }, tests);
    }
  };
  await Promise.all(Array.from({ length: machinesAtOnce() }, work));
  return results.flat();
}

/** Outer machines that failed and were replaced. */
const outerFailures: string[] = [];

async function main(): Promise<number> {
  const only = option("only");
  const forCi = Deno.args.includes("--checkout-tests") ? "CI without KVM" : "CI";
  // Who names tests may name any.
  const selection = only === undefined ? forCi : "all";
  const plan = pieces(Deno.args.includes("--full") ? "full" : selection)
    .map((tests) => tests.filter((name) => name.includes(only ?? "")))
    .filter((tests) => tests.length > 0);
  await Deno.mkdir(cacheFolder(), { recursive: true });
  const folder = await Deno.makeTempDir({ prefix: "molt-rig-" });
  const started = performance.now();
  const results: Result[] = [];
  const passed = () => `${((performance.now() - started) / 1000).toFixed(0)} s`;
  try {
    const tested = plan.flat().some((name) => name.startsWith("tests:"));
    const level1 = await prepare(folder, tested ? checkoutTests.map(({ file }) => file) : []);
    console.log(`prepared in ${passed()}`);
    if (option("script") !== undefined) return await runScript(level1);
    results.push(...await runPieces(level1, plan));
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
    const narrator = new Narrator();
    for await (const line of runLevel1({ ...level1, words: [] })) narrator.report(line);
  } catch (error) {
    // It ends without the driver's report.
    if (!(error instanceof Level1Error)) throw error;
  }
  console.log(await Deno.readTextFile(`${level1.folder}/console`));
  return 0;
}

Deno.exit(await main());
