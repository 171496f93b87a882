/** What is looked at in a guest. Everything here throws what it finds wrong. */
import type { Guest } from "./guest.ts";

/** Messages of a kernel that something went wrong under it, or that it lost time. */
const complaints =
  "stall|lockup|hung_task|blocked for more than|I/O error|EXT4-fs error|WARNING:|BUG:|Oops|" +
  "Call Trace|Marking clocksource|clock.*skew|NETDEV WATCHDOG|Time jumped|TSC.*warp";

/** What it says on every machine without PCI. */
const harmless = "PCI: Fatal: No config space access function found";

/** The workers that a busy guest runs, by the name under which they report. */
export interface WorkerStatus {
  readonly progress: number;
  readonly errors: number;
  readonly detail: number;
  readonly firstError: string;
}

/** Runs a command that has to succeed. Returns its output. */
export async function shell(guest: Guest, command: string, seconds?: number): Promise<string> {
  const { status, text } = await guest.console.run(command, seconds);
  if (status !== 0) throw new Error(`'${command}' ended with status ${status}: ${text}`);
  return text;
}

/** Throws unless a command prints what `pattern` describes. */
export async function expect(guest: Guest, command: string, pattern: RegExp): Promise<void> {
  const text = await shell(guest, command);
  if (!pattern.test(text)) throw new Error(`'${command}' prints ${text}, not ${pattern}`);
}

/** Looks for complaints in the kernel's log, and for any message of the level "error" or worse. */
export async function checkKernelLog(guest: Guest): Promise<void> {
  const command = `dmesg -r | grep -E '^<[0-3]>|${complaints}' | grep -v -E '${harmless}'`;
  const { text } = await guest.console.run(command);
  if (text !== "") throw new Error(`the guest's kernel complains: ${text}`);
}

/** Asks the workers how they are. */
export async function workers(guest: Guest): Promise<Map<string, WorkerStatus>> {
  const text = await shell(guest, "rig status");
  const lines = text.matchAll(/^(\w+) (\d+) (\d+) (\d+) (.*)$/gm);
  return new Map(
    [...lines].map(([, name = "", progress, errors, detail, firstError = ""]) => [name, {
      progress: Number(progress),
      errors: Number(errors),
      detail: Number(detail),
      firstError,
    }]),
  );
}

/** Starts a TCP stream through each of the guest's networks: see `init` for who answers. */
export async function startStreams(guest: Guest): Promise<void> {
  await shell(guest, "rig stream tap 10.0.2.1 5001");
  await startPasstStream(guest);
}

/** Starts the one through passt, which forwards it to this machine's loopback interface. */
export async function startPasstStream(guest: Guest): Promise<void> {
  await shell(guest, "rig stream passt 10.0.3.1 5001");
}

/**
 * Ends the stream through passt: passt is a TCP endpoint that soon gives up a guest from which it hears
 * nothing, so connections do not outlive a longer absence.
 */
export async function endPasstStream(guest: Guest): Promise<void> {
  await shell(guest, "rig stop passt");
}

/** Throws if a worker has found something wrong. */
export function checkWorkers(found: ReadonlyMap<string, WorkerStatus>): void {
  for (const [name, { errors, firstError }] of found) {
    if (errors > 0) throw new Error(`${name}: ${errors} errors: ${firstError}`);
  }
}

/** Waits until every worker has gone on since `before`, without an error. */
export async function awaitProgress(
  guest: Guest,
  before: ReadonlyMap<string, WorkerStatus>,
  seconds = 180,
): Promise<Map<string, WorkerStatus>> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const now = await workers(guest);
    checkWorkers(now);
    const standing = [...before].filter(([name, { progress }]) =>
      (now.get(name)?.progress ?? 0) <= progress
    );
    if (standing.length === 0) return now;
    if (Date.now() > deadline) {
      throw new Error(`no progress within ${seconds} s: ${standing.map(([n]) => n).join(", ")}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** Throws unless the file system in an image was unmounted (ext4's super block: s_state). */
export async function checkUnmounted(image: string): Promise<void> {
  const STATE_OFFSET = 1024 + 0x3a;
  const CLEAN = 1;
  using file = await Deno.open(image);
  await file.seek(STATE_OFFSET, Deno.SeekMode.Start);
  const bytes = new Uint8Array(2);
  await file.read(bytes);
  const state = new DataView(bytes.buffer).getUint16(0, true);
  if (state !== CLEAN) throw new Error(`the guest left its file system in state ${state}`);
}
