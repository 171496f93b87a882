/**
 * The machine in which molt runs: QEMU with a software CPU that has SVM, Debian's kernel in it, and a
 * driver of tests that reports on its second serial port.
 */
import { QmpClient } from "../../src/qmp_client/mod.ts";
import { type Line, parseLine } from "./report.ts";

const root = new URL("../../", import.meta.url).pathname;
const POLL_MILLISECONDS = 200;
/**
 * Room for the code that QEMU makes of the machine's: the most that it takes. When it is full, QEMU
 * stops all processors to empty it; one of them that runs a guest (L2) may then get its last interrupt a
 * second time, at a moment at which the guest allows none (docs/testing.md).
 */
const TRANSLATED_CODE_MEGABYTES = 2048;
/** With two the emulator loses a guest now and then (docs/testing.md). */
const PROCESSORS = "1";
/** What ends this program; the machine must not outlive it. */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** What to boot. */
export interface Level1Options {
  readonly kernel: string;
  readonly initramfs: string;
  readonly disk: string;
  /** A folder for its output. */
  readonly folder: string;
  /** Words for the kernel's command line, which the driver reads. */
  readonly words: readonly string[];
  /** How long it may be silent, in seconds. */
  readonly silence: number;
}

/** It ended, or said nothing for too long, before the tests had ended. */
export class Level1Error extends Error {
  override readonly name: string = "Level1Error";
}

/** The machine itself failed, not what is tested in it: its kernel panicked, or QEMU ended early. */
export class OuterMachineError extends Level1Error {
  override readonly name = "OuterMachineError";
}

/** What its kernel says when it has met what must not happen. */
const collapse = /Kernel panic|Oops: |general protection fault|double fault|BUG: |Call Trace:/;
/** The last that it says when the driver has ended, in whatever way: see inside/init. */
const DRIVER_ENDED = "rig: the driver ended";

/** Boots it and yields what the driver reports, until the driver has done everything. */
export async function* runLevel1(options: Level1Options): AsyncGenerator<Line> {
  const results = `${options.folder}/results`;
  const console = `${options.folder}/console`;
  await Deno.writeFile(results, new Uint8Array());
  const process = new Deno.Command("sh", {
    args: [`${root}scripts/peer_qemu.sh`, ...machine(options, console, results)],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let ended = false;
  const errors = new Response(process.stderr).text();
  void process.status.then(() => ended = true);
  let stopped = false;
  const stop = () => {
    stopped = true;
    if (!ended) process.kill("SIGKILL");
  };
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  try {
    using file = await Deno.open(results);
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(65536);
    let text = "";
    let heard = Date.now();
    for (;;) {
      const over = ended;
      const count = await file.read(buffer) ?? 0;
      text += decoder.decode(buffer.subarray(0, count), { stream: true });
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        heard = Date.now();
        const parsed = parseLine(line.trimEnd());
        if (parsed.kind === "end") return;
        yield parsed;
      }
      if (count > 0) continue;
      if (stopped) throw new Error("stopped by a signal");
      if (over) throw await failure("it has ended", console, (await errors).trim());
      if (Date.now() - heard > options.silence * 1000) {
        throw await failure(`nothing was heard of the tests for ${options.silence} s`, console, "");
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    }
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, stop);
    if (!ended) process.kill("SIGKILL");
    await process.status;
    await errors;
  }
}

function monitorOf(folder: string): string {
  return `${folder}/monitor`;
}

/** How full the room for translated code is, in the machine that runs in `folder`. */
export async function translatedCode(folder: string): Promise<string> {
  const signal = AbortSignal.timeout(5000);
  try {
    await using qmp = await QmpClient.connect(monitorOf(folder), { signal });
    const options = { "command-line": "info jit" };
    const text = await qmp.execute("human-monitor-command", options, { signal });
    const bytes = Number(text.match(/gen code size\s+(\d+)/)?.[1]);
    const flushes = text.match(/TB flush count\s+(\d+)/)?.[1];
    return `${(bytes / (1 << 20)).toFixed(0)} MiB of translated code, emptied ${flushes} times`;
  } catch (error) {
    return `the emulator does not answer: ${error}`;
  }
}

/** Distinguishes a machine that failed from a driver that did. */
async function failure(what: string, console: string, errors: string): Promise<Level1Error> {
  const text = await Deno.readTextFile(console);
  const complaint = text.split("\n").find((line) => collapse.test(line))?.trim();
  if (complaint !== undefined) {
    return new OuterMachineError(`the outer machine's kernel: ${complaint} (${what})`);
  }
  const said = errors === "" ? "" : `: ${errors}`;
  const early = what === "it has ended" && !text.includes(DRIVER_ENDED);
  if (early) return new OuterMachineError(`the outer machine ended without a word${said}`);
  return new Level1Error(`the outer machine: ${what}${said}`);
}

function machine(options: Level1Options, console: string, results: string): string[] {
  // No conclusions from how long something takes, which a busy host makes long; all processors of the
  // emulator have the same time stamp counter. What is not as it must be in this kernel ends it.
  const words = [
    ...["console=ttyS0", "panic=-1", "oops=panic", "quiet", "mitigations=off"],
    ...["no_timer_check", "tsc=reliable", ...options.words],
  ];
  return [
    ...["-accel", `tcg,thread=multi,tb-size=${TRANSLATED_CODE_MEGABYTES}`, "-M", "q35"],
    // Page tables of five levels make each walk through two machines' tables longer.
    ...["-cpu", "max,+svm,-la57"],
    ...["-smp", PROCESSORS, "-m", "3G", "-nodefaults", "-display", "none", "-no-reboot"],
    ...["-kernel", options.kernel, "-initrd", options.initramfs, "-append", words.join(" ")],
    ...["-serial", `file:${console}`, "-serial", `file:${results}`],
    ...["-qmp", `unix:${monitorOf(options.folder)},server=on,wait=off`],
    ...["-drive", `if=none,id=disk,file=${options.disk},format=raw,cache=unsafe,snapshot=on`],
    ...["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"],
  ];
}
