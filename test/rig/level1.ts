/**
 * The machine in which molt runs: QEMU with a software CPU that has SVM, Debian's kernel in it, and a
 * driver of tests that reports on its second serial port.
 */
import { type Line, parseLine } from "./report.ts";

const root = new URL("../../", import.meta.url).pathname;
const POLL_MILLISECONDS = 200;
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
  override readonly name = "Level1Error";
}

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
  const stop = () => process.kill("SIGKILL");
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
      if (over) throw new Level1Error(`QEMU has ended: ${await errors}`);
      if (Date.now() - heard > options.silence * 1000) {
        throw new Level1Error(`nothing was heard of the tests for ${options.silence} s`);
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

function machine(options: Level1Options, console: string, results: string): string[] {
  // The last two: no conclusions from how long something takes, which a busy host makes long; all
  // processors of the emulator have the same time stamp counter.
  const words = [
    ...["console=ttyS0", "panic=-1", "quiet", "mitigations=off", "no_timer_check", "tsc=reliable"],
    ...options.words,
  ];
  return [
    ...["-accel", "tcg,thread=multi,tb-size=512", "-M", "q35", "-cpu", "max,+svm"],
    ...["-smp", "2", "-m", "3G", "-nodefaults", "-display", "none", "-no-reboot"],
    ...["-kernel", options.kernel, "-initrd", options.initramfs, "-append", words.join(" ")],
    ...["-serial", `file:${console}`, "-serial", `file:${results}`],
    ...["-drive", `if=none,id=disk,file=${options.disk},format=raw,cache=unsafe`],
    ...["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"],
  ];
}
