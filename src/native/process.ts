/** This process, its successor and its children. */
import { cString, cStrings, native } from "./library.ts";
import { Errno, unwrap } from "./errors.ts";
import { Descriptor, type Fd } from "./descriptor.ts";
import { Events } from "./event_loop.ts";
import { untilReady } from "./readiness.ts";

/** This process's id. */
export function processId(): number {
  return native.molt_process_id();
}

/** The parent's process id. */
export function parentId(): number {
  return native.molt_parent_id();
}

/**
 * Has the threads that compile and collect garbage for the engine take the processor from nobody when
 * they are woken. Otherwise one of them interrupts the thread that everything waits for, for milliseconds
 * at a time, also while a guest is paused.
 */
export function letEngineThreadsWait(): void {
  // Of "V8 DefaultWorker" the kernel keeps 15 characters. Without the policy they work all the same.
  native.molt_schedule_as_batch(cString("V8 DefaultWorke"));
}

/** The environment as `NAME=value` strings. */
export function environment(): string[] {
  const count = new Uint32Array(1);
  const countBytes = new Uint8Array(count.buffer);
  const size = Number(native.molt_environment(new Uint8Array(0), 0n, countBytes));
  const buffer = new Uint8Array(size);
  native.molt_environment(buffer, BigInt(size), countBytes);
  return new TextDecoder().decode(buffer).split("\0").slice(0, count[0]);
}

/** The value of an environment variable, `undefined` if it is not set. */
export function getEnvironment(name: string): string | undefined {
  const buffer = new Uint8Array(1 << 16);
  const length = Number(native.molt_getenv(cString(name), buffer, BigInt(buffer.length)));
  return length < 0 ? undefined : new TextDecoder().decode(buffer.subarray(0, length));
}

/** Removes an environment variable. */
export function unsetEnvironment(name: string): void {
  unwrap(native.molt_unsetenv(cString(name)), `Could not unset ${name}`);
}

/**
 * Has all descriptors but standard input, output and error close when this process is replaced, also
 * those that came from whoever started it. Linux before 5.11 cannot: there only those close that were
 * opened so, which is all that this program opens.
 */
export function closeAllOnExec(): void {
  const outcome = native.molt_close_on_exec_from(3);
  if (outcome === -Errno.EINVAL || outcome === -Errno.ENOSYS) return;
  unwrap(outcome, "Could not have descriptors close on exec");
}

/**
 * Replaces this process by `command`, searched in PATH; same PID, only descriptors that are not
 * close-on-exec stay. Throws a {@linkcode SystemError} if that fails, and does not return otherwise.
 */
export function execute(command: readonly string[], environment: readonly string[]): never {
  const program = command[0] ?? "";
  unwrap(
    native.molt_exec(
      cString(program),
      cStrings(command),
      command.length,
      cStrings(environment),
      environment.length,
    ),
    `Could not execute '${program}'`,
  );
  throw new Error("unreachable: a successful execve does not return");
}

/** How a child is started. */
export interface SpawnOptions {
  /** Descriptors the child gets: [descriptor here, number there]. */
  readonly descriptors?: readonly (readonly [Fd, number])[];
  /** `NAME=value` strings; this process's environment by default. */
  readonly environment?: readonly string[];
  /** Make it the leader of a new session. */
  readonly session?: boolean;
}

/** Starts `command`, searched in PATH, and returns its process id. */
export function spawn(command: readonly string[], options: SpawnOptions = {}): number {
  const variables = options.environment ?? environment();
  const map = Int32Array.from((options.descriptors ?? []).flat());
  const program = command[0] ?? "";
  return unwrap(
    native.molt_spawn(
      cString(program),
      cStrings(command),
      command.length,
      cStrings(variables),
      variables.length,
      new Uint8Array(map.buffer),
      map.length / 2,
      options.session ? 1 : 0,
    ),
    `Could not start '${program}'`,
  );
}

/** How a child ended. */
export type ExitStatus =
  | { readonly kind: "exited"; readonly status: number }
  | { readonly kind: "killed"; readonly signal: number };

/** `ended with status 1`, `was killed by signal 9`. */
export function describeExit(end: ExitStatus): string {
  return end.kind === "exited"
    ? `ended with status ${end.status}`
    : `was killed by signal ${end.signal}`;
}

/** The outcome of a child that has ended, `undefined` while it runs. */
export function childStatus(pid: number): ExitStatus | undefined {
  const status = new Int32Array(1);
  const WNOHANG = 1;
  const ended = unwrap(
    native.molt_wait_child(pid, new Uint8Array(status.buffer), WNOHANG),
    `Could not wait for process ${pid}`,
  );
  return ended === 0 ? undefined : exitStatus(status[0]!);
}

/** Waits until a child has ended. */
export async function awaitChild(pid: number): Promise<ExitStatus> {
  using process = new Descriptor(
    unwrap(native.molt_open_process(pid), `Could not wait for process ${pid}`),
  );
  for (;;) {
    const status = childStatus(pid);
    if (status !== undefined) return status;
    await untilReady([{ fd: process.fd, events: Events.readable }]);
  }
}

/** What waitpid's status says. */
function exitStatus(status: number): ExitStatus {
  const signal = status & 0x7f;
  return signal === 0
    ? { kind: "exited", status: (status >> 8) & 0xff }
    : { kind: "killed", signal };
}

/** Sends `signal` to a process; 0 only asks whether it exists. */
export function kill(pid: number, signal: number): void {
  unwrap(native.molt_kill(pid, signal), `Could not signal process ${pid}`);
}

/** Has the kernel kill this process when its parent ends. */
export function exitWithParent(): void {
  const SIGTERM = 15;
  unwrap(native.molt_parent_death_signal(SIGTERM), "Could not tie the process to its parent");
}

/** The name that ps and top show. */
export function setProcessName(name: string): void {
  unwrap(native.molt_process_name(cString(name)), `Could not name the process '${name}'`);
}

/** Makes `path` the working directory. */
export function changeDirectory(path: string): void {
  unwrap(native.molt_change_directory(cString(path)), `Could not change to '${path}'`);
}

/** Makes standard input, output and error the open file `fd`. */
export function replaceStandardStreams(fd: Fd): void {
  for (const stream of [0, 1, 2] as const) replaceStandardStream(stream, fd);
}

/** Makes one of standard input, output and error the open file `fd`. */
export function replaceStandardStream(stream: 0 | 1 | 2, fd: Fd): void {
  unwrap(native.molt_duplicate_onto(fd, stream), `Could not replace descriptor ${stream}`);
}
