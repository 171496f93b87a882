/**
 * deno task update:exec: replaces the program under a running guest by cpr-exec.
 *
 *   mode=cpr-exec, command -> migrate -> the process executes the command -> it runs the guest
 */
import {
  MigrationFailedError,
  QmpClient,
  QmpDisconnectedError,
  type RunState,
} from "../src/qmp_client/mod.ts";
import { appending, receiving } from "./lib/command_line.ts";
import { absolutePath, removeIfThere } from "./lib/files.ts";
import { checkMovable, checkShared, configure, follow, pauseText } from "./lib/migration.ts";
import { address, count, value } from "./lib/options.ts";
import { checkFirst, preflightOptions } from "./lib/preflight.ts";
import { isMolt, nameOf, ProcessGoneError, processOf, whileAlive } from "./lib/processes.ts";
import { ExitStatus, messageOf, runScript, type Script, ScriptError } from "./lib/script.ts";
import { explainRefusal, requireUser } from "./lib/users.ts";

const options = {
  "qmp": address("the running machine's monitor: a unix socket's path, or HOST:PORT"),
  "state": value(
    "FILE",
    "where the devices' state goes meanwhile; needed if molt is to be replaced by QEMU; default: molt " +
      "hands it on itself, from QEMU it goes to a temporary file",
  ).optional(),
  "timeout": count("SECONDS", 1, "how long the successor may take to answer").default(30),
  ...preflightOptions,
};

type ExecScript = Script<typeof options>;

await runScript({
  usage: "update:exec --qmp ADDRESS [OPTION ...] [-- COMMAND ...]",
  about: `
Replaces the program that runs a guest with another, or with a new version of itself, by cpr-exec:
the process executes it and keeps its number, and the guest's memory stays where it is. That memory
has to be shared: -object memory-backend-memfd,share=on or -file, and -machine aux-ram-share=on.
It works with molt, with QEMU, and from one to the other.

COMMAND is the new program with all its arguments, without -incoming. By default it is the command
line of the running process: whatever its path leads to by now is executed. Relative paths in it are
meant in the folder in which the machine was started.`,
  options,
}, async (script) => {
  const { qmp, timeout } = script.options;
  const machine = await script.connect(qmp);
  await using cleanup = new AsyncDisposableStack();
  cleanup.use(machine);
  const before = await checkMovable(machine);
  await checkShared(machine);
  const { pid, command, program } = await processOf(machine);
  script.report({ before: program });
  script.say(`process ${pid} runs ${nameOf(machine)}; the guest is ${before}`);

  const started = script.command?.command ?? appending(command);
  if (!await checkFirst(script, script.options, machine, started)) return;

  const state = await stateFile(script, machine, pid);
  await using undo = new AsyncDisposableStack();
  if (state !== undefined) undo.defer(() => removeIfThere(state));
  undo.use(
    await configure(script, machine, {
      parameters: {
        "mode": "cpr-exec",
        "cpr-exec-command": receiving(started, ...(state === undefined ? [] : [`file:${state}`])),
      },
    }),
  );
  using stops = machine.events("STOP");
  await script.change(machine, "migrate", state === undefined ? {} : { uri: `file:${state}` });
  const successor = await script.wait("the guest goes on in the successor", async () => {
    try {
      return await whileAlive(
        pid,
        { limit: timeout * 1000 },
        (signal) => awaitSuccessor(script, machine, pid, signal),
      );
    } catch (cause) {
      if (!(cause instanceof ProcessGoneError)) throw cause;
      undo.move();
      throw await lookAround(script, machine, cause, state);
    }
  });
  if (state !== undefined) await script.act(`remove ${state}`, () => Deno.remove(state));
  undo.move();
  if (successor === undefined) return;

  await using client = successor.client;
  const { status } = successor;
  const [stop] = stops.takeAll();
  // A guest that was paused has missed nothing.
  const pause = stop && (await pauseOf(client) ?? successor.seen - stop.time / 1000);
  script.report({ pid, program: nameOf(client), status, pause });
  script.say(`process ${pid} runs ${nameOf(client)}; the guest is ${status}${pauseText(pause)}`);
});

/** The file that the devices' state goes through; undefined if molt needs none. */
async function stateFile(
  script: ExecScript,
  machine: QmpClient,
  pid: number,
): Promise<string | undefined> {
  const { state } = script.options;
  if (state !== undefined) return absolutePath(state);
  if (isMolt(machine)) return undefined;
  requireUser(pid, "a temporary file for the devices' state (--state names another)", {
    root: false,
  });
  const prefix = "molt-update-";
  return script.dryRun ? `/tmp/${prefix}...` : await Deno.makeTempFile({ prefix });
}

/** Reports where the guest is when its process has ended, or does not answer. */
async function lookAround(
  script: ExecScript,
  machine: QmpClient,
  cause: ProcessGoneError,
  state: string | undefined,
): Promise<ScriptError> {
  if (state !== undefined) {
    const text = `${cause.message}; its devices' state is in ${state}`;
    return new ScriptError(ExitStatus.lost, text, { cause });
  }
  // molt leaves the guest with a second process while the first one executes the successor, and that one
  // answers there when the successor has failed: whoever answers is asked.
  try {
    const limit = script.options.timeout * 1000;
    const signal = AbortSignal.timeout(limit);
    await using keeper = await QmpClient.connect(machine.address, { wait: true, signal });
    const { status } = await keeper.execute("query-status", {}, { signal });
    const found = await processOf(keeper);
    const { "error-desc": reason } = await keeper.execute("query-migrate", {}, { signal });
    script.report({ pid: found.pid, program: nameOf(keeper), status });
    const text = `${cause.message}; the guest is ${status} in process ${found.pid}, ` +
      `with the old program, ${found.program}${reason === undefined ? "" : ` (${reason})`}`;
    return new ScriptError(ExitStatus.failed, text, { cause });
  } catch (error) {
    const reason = messageOf(explainRefusal(error, machine.address));
    const text = `${cause.message}, and nobody says who has the guest: ${reason}. ` +
      "Another process may have it: end none before you know";
    return new ScriptError(ExitStatus.lost, text, { cause });
  }
}

/** How long the guest was paused in all, in milliseconds, if the successor knows. */
async function pauseOf(client: QmpClient): Promise<number | undefined> {
  if (!isMolt(client)) return undefined;
  const { pauses } = await client.execute("x-query-update");
  return pauses && pauses.reduce((sum, pause) => sum + pause, 0) / 1000;
}

/** The guest in its new program. */
interface Successor {
  readonly client: QmpClient;
  readonly status: RunState;
  /** When it was seen, in milliseconds since 1970. */
  readonly seen: number;
}

/**
 * Follows the guest into the successor, over the same connection or, as usual, over a new one. Throws
 * MigrationFailedError when it stayed where it was, ProcessGoneError when another process has it because
 * process `pid` has ended.
 */
async function awaitSuccessor(
  script: ExecScript,
  machine: QmpClient,
  pid: number,
  signal: AbortSignal,
): Promise<Successor> {
  const onTheWay: readonly RunState[] = ["finish-migrate", "postmigrate", "inmigrate"];
  let client = machine;
  try {
    await follow(script, machine);
  } catch (error) {
    if (!(error instanceof QmpDisconnectedError)) throw error;
  }
  for (;;) {
    try {
      const { status } = await client.execute("query-status", {}, { signal });
      const seen = Date.now();
      if (!onTheWay.includes(status)) {
        const migration = await client.execute("query-migrate", {}, { signal });
        if (migration.status === "completed") return { client, status, seen };
        if ((await processOf(client)).pid !== pid) throw new ProcessGoneError(pid);
        throw new MigrationFailedError("failed", migration["error-desc"]);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    } catch (error) {
      // A monitor has one client at a time, and whoever looks around is the next.
      if (client !== machine) client[Symbol.dispose]();
      if (!(error instanceof QmpDisconnectedError)) throw error;
      client = await QmpClient.connect(machine.address, { wait: true, signal });
    }
  }
}
