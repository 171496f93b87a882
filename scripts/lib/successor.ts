/** Starting the process that a guest goes to, and giving it the old one's place. */
import {
  followMigration,
  formatQmpAddress,
  parseQmpAddress,
  QmpClient,
  QmpConnectError,
  type QmpEvents,
  type RunState,
} from "../../src/qmp_client/mod.ts";
import { appending, beside, nextName, qmpAddressOf, receiving, safeName } from "./command_line.ts";
import { removeIfThere } from "./files.ts";
import { configure, progressText, type Settings } from "./migration.ts";
import { type OptionShape, UsageError } from "./options.ts";
import {
  awaitEnd,
  type DetachedProgram,
  isMolt,
  type MachineProcess,
  nameOf,
} from "./processes.ts";
import { ExitStatus, messageOf, type Script, ScriptError } from "./script.ts";

/** A program and its arguments, and the directory that its relative paths are meant in. */
export interface CommandLine {
  readonly command: readonly string[];
  readonly directory: string;
}

/** How to start a machine that receives a guest. */
export interface MachinePlan extends CommandLine {
  /** Where its monitor is. */
  readonly address: string;
  /** The names that its sockets, and the file with its number, are to have in the end. */
  readonly names: readonly string[];
}

/** A path of a command line, as seen from here. */
function resolvePath(directory: string, path: string): string {
  return path.startsWith("/") ? path : `${directory}/${path}`;
}

/**
 * Plans a machine that receives a guest from `incoming` (values of -incoming). `monitor` is its monitor's
 * address, if that was typed.
 */
export function planMachine(
  { command, directory }: CommandLine,
  incoming: readonly string[],
  monitor: string | undefined,
): MachinePlan {
  const typed = monitor ?? qmpAddressOf(command);
  if (typed === undefined) {
    throw new UsageError("the command line has no QMP monitor on a socket: give its address");
  }
  const parsed = parseQmpAddress(typed);
  const address = formatQmpAddress(
    parsed.transport === "unix" && monitor === undefined
      ? { ...parsed, path: resolvePath(directory, parsed.path) }
      : parsed,
  );
  return { command: receiving(command, ...incoming), directory, address, names: [] };
}

/**
 * Plans the successor of a running process, to which its guest goes by `mode`: from what was typed after
 * `--`, or as that process is.
 */
export function planSuccessor(
  typed: CommandLine | undefined,
  old: CommandLine,
  incoming: readonly string[],
  { monitor, mode }: {
    readonly monitor?: string | undefined;
    readonly mode: "normal" | "cpr-transfer";
  },
): MachinePlan {
  if (typed) return planMachine(typed, incoming, monitor);
  const { command, names } = beside(appending(old.command), mode);
  const { directory } = old;
  return {
    ...planMachine({ command, directory }, incoming, monitor),
    names: names.map((name) => resolvePath(directory, name)),
  };
}

/**
 * Ends the process that the guest has left, and gives its successor the names that clients know. The
 * order matters: a QEMU that ends removes what is there by the names that it was given.
 */
export async function takePlace<S extends OptionShape>(
  script: Script<S>,
  { plan, machine, successor, old, limit }: {
    readonly plan: MachinePlan;
    readonly machine: QmpClient;
    /** The successor's monitor: molt renames its files itself, so that it knows what they are called. */
    readonly successor: QmpClient | undefined;
    readonly old: MachineProcess;
    readonly limit: number;
  },
): Promise<void> {
  const rename = (from: string, to: string) =>
    successor && isMolt(successor)
      ? script.change(successor, "x-rename-file", { from, to })
      : script.act(`rename ${from} to ${to}`, () => Deno.rename(from, to));
  try {
    for (const path of plan.names) await rename(nextName(path), safeName(path));
    await script.change(machine, "quit", {});
    await script.wait(`process ${old.pid} has ended`, () => awaitEnd(old.pid, limit));
    for (const path of plan.names) await rename(safeName(path), path);
  } catch (cause) {
    const text = "the guest runs in the successor, but that could not take its predecessor's place";
    throw new ScriptError(ExitStatus.lost, `${text}: ${messageOf(cause)}`, { cause });
  }
}

/** A successor's monitor. */
export interface SuccessorMonitor {
  readonly client: QmpClient;
  /** When its guest began to run. */
  readonly resumes: QmpEvents<"RESUME">;
}

/** Refuses to start a machine whose monitor would take the place of another's. */
export async function checkUnused(address: string): Promise<void> {
  try {
    await using _ = await QmpClient.connect(address, { signal: AbortSignal.timeout(1000) });
  } catch (error) {
    if (error instanceof QmpConnectError && error.cause instanceof Deno.errors.NotFound) return;
    if (error instanceof QmpConnectError && error.cause instanceof Deno.errors.ConnectionRefused) {
      return;
    }
  }
  throw new ScriptError(ExitStatus.unavailable, `a machine is there already: ${address}`);
}

/** Refuses to start a program in a folder that is gone. */
export async function checkFolder(directory: string): Promise<void> {
  try {
    if ((await Deno.stat(directory)).isDirectory) return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  throw new ScriptError(
    ExitStatus.unavailable,
    `the folder in which the machine was started has been removed: ${directory}. Relative paths in its ` +
      "command line lead nowhere: give a command line after --",
  );
}

/** Starts a successor. When the stack is disposed it is ended, and leaves nothing behind. */
export async function startSuccessor<S extends OptionShape>(
  script: Script<S>,
  undo: AsyncDisposableStack,
  { command, directory, names }: MachinePlan,
  log: string,
): Promise<DetachedProgram | undefined> {
  await checkFolder(directory);
  const program = script.start(command, { directory, log });
  undo.defer(async () => {
    if (!program) return;
    await program.kill();
    for (const name of names) await removeIfThere(nextName(name));
  });
  return program;
}

/** A machine that was started to receive a guest. */
export interface WaitingMachine extends SuccessorMonitor {
  readonly program: DetachedProgram;
}

/** Connects as soon as it answers. */
export async function connectToSuccessor(
  address: string,
  signal: AbortSignal,
): Promise<SuccessorMonitor> {
  const client = await QmpClient.connect(address, { wait: true, signal });
  return { client, resumes: client.events("RESUME") };
}

/** A guest that has arrived. */
export interface Arrival {
  /** The program that it arrived in. */
  readonly name: string;
  readonly status: RunState;
  /** When it ran, or was seen at rest, in microseconds since 1970. */
  readonly time: number;
}

/** Waits until the guest has arrived, and is as it was. */
export async function awaitArrival(
  { client, resumes }: SuccessorMonitor,
  signal: AbortSignal,
): Promise<Arrival> {
  for (;;) {
    const { status } = await client.execute("query-status", {}, { signal });
    const seen = Date.now() * 1000;
    if (status !== "inmigrate") {
      return { name: nameOf(client), status, time: resumes.takeAll()[0]?.time ?? seen };
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/**
 * Starts a machine that waits for a guest (-incoming defer), and connects to it. It is ended when the
 * stack is disposed: move what is in the stack out of it when the guest has arrived.
 */
export async function startWaiting<S extends OptionShape>(
  script: Script<S>,
  undo: AsyncDisposableStack,
  plan: MachinePlan,
  options: { readonly log: string; readonly limit: number },
): Promise<WaitingMachine | undefined> {
  const { log, limit } = options;
  if (!script.dryRun) await checkUnused(plan.address);
  const program = await startSuccessor(script, undo, plan, log);
  return await script.wait(`${plan.address} answers`, async () => {
    if (!program) throw new Error("the program was not started");
    const connect = (signal: AbortSignal) => connectToSuccessor(plan.address, signal);
    return { program, ...await program.waitFor({ limit, signal: script.signal }, connect) };
  });
}

/**
 * Lets a waiting machine load a guest from `uri`, and returns when it is there. Its settings are as
 * before then; a machine that the guest does not arrive in is to be ended. `signal` ends the waiting:
 * leave it out if the guest must not have run by then.
 */
export async function receive<S extends OptionShape>(
  script: Script<S>,
  plan: MachinePlan,
  waiting: WaitingMachine | undefined,
  { uri, settings, limit, signal }: {
    readonly uri: string;
    readonly settings: Settings;
    readonly limit: number;
    readonly signal?: AbortSignal;
  },
): Promise<Arrival | undefined> {
  const machine = waiting?.client ?? plan.address;
  const configured = await configure(script, machine, settings);
  await script.change(machine, "migrate-incoming", { uri, "exit-on-error": false });
  const arrival = await script.wait("the guest has arrived", async () => {
    if (!waiting) return undefined;
    for await (const information of followMigration(waiting.client, signal ? { signal } : {})) {
      script.progress(progressText(information));
    }
    return await waiting.program.waitFor({ limit }, (signal) => awaitArrival(waiting, signal));
  });
  await configured[Symbol.asyncDispose]();
  return arrival;
}
