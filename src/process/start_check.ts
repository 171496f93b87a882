/**
 * Whether a program can be started in this process's place or beside it. A live update asks before it stops
 * the guest: a successor that cannot start may cost it.
 *
 *   checkStart   what can be seen at once: the folder, the limits against what this process uses itself
 *   tryStart     a start of this very program, which only says its version
 */
import { identityAt } from "./own_file.ts";
import { launch } from "./launch.ts";
import { asFd, isOpen } from "../native/descriptor.ts";
import { createPipe, openFile, OpenFlags, read, readFileUnsized } from "../native/file.ts";
import { childStatus, type ExitStatus, kill, spawn } from "../native/process.ts";
import { SystemError } from "../native/errors.ts";

/** How long a program may take to say its version, in milliseconds. */
const PATIENCE = 60_000;
/** How often it is looked whether it has ended. */
const INTERVAL = 10;
/** Descriptors that a start needs for a while, beside those that a machine keeps. */
const SPARE_DESCRIPTORS = 16;
/** Most bytes of what a failed start said. */
const WORDS = 4096;
const SIGKILL = 9;

/** A program could not be started; nothing has been done. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** The limits that a start may meet, by their names in /proc/PID/limits (proc_pid_limits(5)). */
const limits = {
  "Max open files": "open files (RLIMIT_NOFILE)",
  "Max address space": "address space (RLIMIT_AS)",
  "Max data size": "data (RLIMIT_DATA)",
  "Max stack size": "stack (RLIMIT_STACK)",
  "Max processes": "processes (RLIMIT_NPROC)",
} as const;

type LimitName = keyof typeof limits;

/**
 * Throws, naming it, if something that a successor of this process needs is not there: the folder, or room
 * within a limit for as much as this process uses.
 */
export function checkStart(): void {
  try {
    launch.folder();
  } catch (cause) {
    throw new StartError(messageOf(cause), { cause });
  }
  let status: string;
  try {
    status = readText("/proc/self/status");
  } catch (cause) {
    // Not even one more file can be opened.
    throw new StartError(`a successor cannot be started: ${messageOf(cause)}`, { cause });
  }
  const field = (name: string) =>
    Number(status.match(new RegExp(`^${name}:\\s*(\\d+)`, "m"))?.[1] ?? 0);
  const needs: readonly (readonly [LimitName, number])[] = [
    ["Max open files", openDescriptors(field("FDSize")) + SPARE_DESCRIPTORS],
    ["Max address space", field("VmSize") * 1024],
    ["Max data size", field("VmData") * 1024],
  ];
  for (const [name, need] of needs) {
    const limit = softLimit(name);
    if (limit === undefined || need <= limit) continue;
    throw new StartError(
      `a successor cannot be started: the limit of ${
        limits[name]
      } is ${limit}, and it needs ${need}, ` +
        "as this process does",
    );
  }
}

/**
 * Starts this program where a successor would be started, to say its version. Throws a StartError that says
 * how that failed. A program that is not there any more is not tried.
 */
export async function tryStart(signal: AbortSignal): Promise<void> {
  if (identityAt(launch.ownProgram) === undefined) return;
  const [reader, writer] = createPipe(OpenFlags.nonBlocking);
  using said = reader;
  const pid = start(writer);
  const status = await endOf(pid, signal);
  if (status?.kind === "exited" && status.status === 0) return;
  const how = status === undefined
    ? `it did not end within ${PATIENCE / 1000} s`
    : status.kind === "exited"
    ? `it ended with status ${status.status}`
    : `signal ${status.signal} ended it`;
  throw new StartError(`${failure()}: ${how}${lastWords(said.fd)}${knownLimits()}`);
}

function failure(): string {
  return `a successor cannot be started: '${launch.ownProgram}' was tried`;
}

/** Takes over the pipe's end, which gets what the program says. */
function start(writer: ReturnType<typeof openFile>): number {
  using output = writer;
  using nothing = openFile("/dev/null", OpenFlags.readWrite);
  const command = [launch.ownProgram, ...launch.runtimeWords, "-version"];
  try {
    return launch.inFolder(() =>
      spawn(command, { descriptors: [[nothing.fd, 0], [nothing.fd, 1], [output.fd, 2]] })
    );
  } catch (cause) {
    if (!(cause instanceof SystemError)) throw cause;
    throw new StartError(`${failure()}: ${cause.message}${knownLimits()}`, { cause });
  }
}

/** How the process ended; undefined if it took too long, or nobody waits any more, and was killed. */
async function endOf(pid: number, signal: AbortSignal): Promise<ExitStatus | undefined> {
  const end = performance.now() + PATIENCE;
  for (;;) {
    const status = childStatus(pid);
    if (status !== undefined) return status;
    if (signal.aborted || performance.now() > end) break;
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
  kill(pid, SIGKILL);
  while (childStatus(pid) === undefined) {
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
  signal.throwIfAborted();
  return undefined;
}

/** The line of what a program said that says most: the first one. */
function lastWords(fd: Parameters<typeof read>[0]): string {
  const bytes = new Uint8Array(WORDS);
  const count = read(fd, bytes) ?? 0;
  const line = new TextDecoder().decode(bytes.subarray(0, count)).split("\n")
    .find((line) => line.trim() !== "");
  return line === undefined ? "" : `, having said: ${line.trim()}`;
}

/** ` (limits: processes (RLIMIT_NPROC) 20)`: those that there are. */
function knownLimits(): string {
  const known = (Object.keys(limits) as LimitName[]).flatMap((name) => {
    const limit = softLimit(name);
    return limit === undefined ? [] : [`${limits[name]} ${limit}`];
  });
  return known.length === 0 ? "" : ` (limits: ${known.join(", ")})`;
}

/** `undefined`: there is none. */
function softLimit(name: LimitName): number | undefined {
  const value = readText("/proc/self/limits").match(new RegExp(`^${name}\\s+(\\d+)`, "m"))?.[1];
  return value === undefined ? undefined : Number(value);
}

/** How many of the first `slots` descriptors are open. */
function openDescriptors(slots: number): number {
  let count = 0;
  for (let fd = 0; fd < slots; fd++) if (isOpen(asFd(fd))) count++;
  return count;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function readText(path: string): string {
  return new TextDecoder().decode(readFileUnsized(path));
}
