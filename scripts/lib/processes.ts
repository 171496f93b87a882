/** Processes: the one behind a monitor, and programs that are to go on without the script. */
import { MigrationFailedError, type QmpClient, QmpError } from "../../src/qmp_client/mod.ts";

/** How long a program whose migration failed may take to print why and end, in ms. */
const LAST_LINES_MS = 1000;

/** A process that runs a machine. */
export interface MachineProcess {
  readonly pid: number;
  /** What runs the machine, with its build: see {@linkcode nameOf}. */
  readonly program: string;
  /** Program and arguments that a successor of the same kind is to be started with. */
  readonly command: readonly string[];
  /** What relative paths in it are relative to. */
  readonly directory: string;
}

/**
 * Finds the process behind a monitor on this host. molt says itself which it is, how it was started, in which
 * folder, and what its sockets are called by now. A QEMU is found by a vCPU's thread, and its arguments and
 * folder by /proc: those of the first moment, and the present one, which only its user may see.
 */
export async function processOf(machine: QmpClient): Promise<MachineProcess> {
  const program = nameOf(machine);
  const launch = await launchOf(machine);
  if (launch !== undefined) return { program, ...launch };
  const [cpu] = await machine.execute("query-cpus-fast");
  const thread = cpu?.["thread-id"];
  try {
    const status = await Deno.readTextFile(`/proc/${thread}/status`);
    const pid = Number(status.match(/^Tgid:\s*(\d+)$/m)?.[1]);
    const commandLine = await Deno.readTextFile(`/proc/${pid}/cmdline`);
    return {
      pid,
      program,
      command: commandLine.split("\0").slice(0, -1),
      directory: await Deno.readLink(`/proc/${pid}/cwd`),
    };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new QmpError(
      `cannot see the machine's process (thread ${thread}): ${reason}. ` +
        "Is it on another host? If it is another user's, run this as that user or as root",
      { cause },
    );
  }
}

/** How molt says that its successor is to be started; undefined: this is none, or an older one. */
async function launchOf(machine: QmpClient) {
  if (!isMolt(machine)) return undefined;
  const { pid, launch } = await machine.execute("x-query-update");
  return launch && { pid, command: launch.command, directory: launch.directory };
}

/** Whether molt runs a machine. */
export function isMolt(machine: QmpClient): boolean {
  return machine.greeting.version.package.startsWith("molt");
}

/** What runs a machine, with its version. */
export function nameOf(machine: QmpClient): string {
  const { qemu, package: name } = machine.greeting.version;
  if (isMolt(machine)) return name;
  return `QEMU ${qemu.major}.${qemu.minor}.${qemu.micro}${name === "" ? "" : ` (${name})`}`;
}

/** Why waiting for a process ended: there is none any more, or it says nothing. */
export class ProcessGoneError extends Error {
  override readonly name = "ProcessGoneError";

  constructor(pid: number, readonly silentFor?: number) {
    super(
      silentFor === undefined
        ? `process ${pid} has ended`
        : `process ${pid} does not answer for ${silentFor / 1000} s`,
    );
  }
}

/** How long to wait. */
export interface Patience {
  /** Milliseconds. */
  readonly limit: number;
  /** Ends the waiting; its reason is thrown. */
  readonly signal?: AbortSignal;
}

/**
 * Waits for something that a process is to do. The action is aborted when the process has ended or the
 * time is over; then ProcessGoneError is thrown.
 */
export async function whileAlive<T>(
  pid: number,
  { limit, signal: interrupted }: Patience,
  action: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const gone = new AbortController();
  const signal = interrupted ? AbortSignal.any([gone.signal, interrupted]) : gone.signal;
  // Where /proc hides other users' processes nothing is to be seen of it.
  const visible = isAlive(pid);
  const timer = setInterval(() => {
    if (visible && !isAlive(pid)) gone.abort(new ProcessGoneError(pid));
  }, 100);
  const timeout = setTimeout(() => {
    gone.abort(new ProcessGoneError(pid, limit));
  }, limit);
  try {
    return await action(signal);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw error;
  } finally {
    clearInterval(timer);
    clearTimeout(timeout);
  }
}

/** Whether a process is there. */
export function isAlive(pid: number): boolean {
  try {
    // A zombie has ended, whatever its parent thinks.
    return !/^State:\s*[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

/**
 * A program in a session of its own, which outlives the script and its terminal. What it prints goes to
 * the end of a log file.
 */
export class DetachedProgram {
  readonly command: readonly string[];
  readonly log: string;
  readonly pid: number;

  constructor(
    command: readonly string[],
    { directory, log }: { readonly directory: string; readonly log: string },
  ) {
    this.command = command;
    this.log = log;
    // By exec the process's number stays the program's.
    const redirect = 'log=$1; shift; exec "$@" </dev/null >>"$log" 2>&1';
    const child = new Deno.Command("setsid", {
      args: ["sh", "-c", redirect, "sh", log, ...command],
      cwd: directory,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    child.unref();
    this.pid = child.pid;
  }

  /** Waits for something that the program is to do; fails with its last words if it ends instead. */
  async waitFor<T>(
    patience: Patience,
    action: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    try {
      return await whileAlive(this.pid, patience, action);
    } catch (cause) {
      if (!(cause instanceof ProcessGoneError)) throw cause;
      const printed = await this.#printed();
      const text = printed === "" ? cause.message : `${cause.message}, having printed:\n${printed}`;
      throw new Error(`the successor fails: ${text}`, { cause });
    }
  }

  /** Has the error of a failed migration say what the program has printed, which may be the reason. */
  async explaining<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (cause) {
      if (!(cause instanceof MigrationFailedError)) throw cause;
      // One that ends because of it prints why.
      await awaitEnd(this.pid, LAST_LINES_MS).catch(() => {});
      const printed = await this.#printed();
      if (printed === "") throw cause;
      throw new Error(`${cause.message}\nThe successor has printed:\n${printed}`, { cause });
    }
  }

  /** The last lines that it has printed. */
  async #printed(): Promise<string> {
    return (await Deno.readTextFile(this.log)).trim().split("\n").slice(-5).join("\n");
  }

  /** Ends it, with what it has started in turn, and waits for that. */
  async kill(): Promise<void> {
    do {
      // The program itself as well: in its first moment it is in the script's session still.
      for (const target of [-this.pid, this.pid]) kill(target);
      await new Promise((resolve) => setTimeout(resolve, 10));
    } while (isAlive(this.pid));
  }
}

/** Ends a process, or a group of them by its negative number, unless it has ended. */
function kill(target: number): void {
  try {
    Deno.kill(target, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Waits until a process has ended, for at most `limit` milliseconds. */
export async function awaitEnd(pid: number, limit: number): Promise<void> {
  const end = Date.now() + limit;
  while (isAlive(pid)) {
    if (Date.now() > end) throw new Error(`process ${pid} does not end`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
