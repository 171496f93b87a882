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
import { checkMovable, configure, follow, pauseText } from "./lib/migration.ts";
import { count, value } from "./lib/options.ts";
import { nameOf, processOf, whileAlive } from "./lib/processes.ts";
import { runScript, type Script } from "./lib/script.ts";

const options = {
  "qmp": value("ADDRESS", "the running machine's monitor: a unix socket's path, or HOST:PORT"),
  "state": value("FILE", "where the devices' state goes meanwhile; default: a temporary file")
    .optional(),
  "timeout": count("SECONDS", 1, "how long the successor may take to answer").default(30),
};

await runScript({
  usage: "update:exec --qmp ADDRESS [OPTION ...] [-- COMMAND ...]",
  about: `
Replaces the program that runs a guest with another, or with a new version of itself, by cpr-exec:
the process executes it and keeps its number, and the guest's memory stays where it is. That memory
has to be shared: -object memory-backend-memfd,share=on or -file, and -machine aux-ram-share=on.
It works with molt, with QEMU, and from one to the other.

COMMAND is the new program with all its arguments, without -incoming. By default it is the command
line of the running process: whatever its path leads to by now is executed.`,
  options,
}, async (script) => {
  const { qmp, timeout } = script.options;
  const machine = await script.connect(qmp);
  await using cleanup = new AsyncDisposableStack();
  cleanup.use(machine);
  const before = await checkMovable(machine);
  const { pid, command } = await processOf(machine);
  script.say(`process ${pid} runs ${nameOf(machine)}; the guest is ${before}`);

  const state = script.options.state ?? await Deno.makeTempFile({ prefix: "molt-update-" });
  if (script.options.state === undefined) {
    cleanup.defer(() => Deno.remove(state));
  }
  cleanup.use(
    await configure(script, machine, {
      parameters: {
        "mode": "cpr-exec",
        "cpr-exec-command": receiving(
          script.command?.command ?? appending(command),
          `file:${state}`,
        ),
      },
    }),
  );
  using stops = machine.events("STOP");
  await script.change(machine, "migrate", { uri: `file:${state}` });
  const successor = await script.wait(
    "the guest goes on in the successor",
    () => whileAlive(pid, timeout * 1000, (signal) => awaitSuccessor(script, machine, signal)),
  );
  if (successor === undefined) return;

  await using client = successor.client;
  const [stop] = stops.takeAll();
  const pause = stop && successor.seen - stop.time / 1000;
  script.report({ pid, program: nameOf(client), status: successor.status, pauseAtMost: pause });
  script.say(
    `process ${pid} runs ${nameOf(client)}; the guest is ${successor.status}` + pauseText(pause),
  );
});

/** The guest in its new program. */
interface Successor {
  readonly client: QmpClient;
  readonly status: RunState;
  /** When it was seen, in milliseconds since 1970. */
  readonly seen: number;
}

/**
 * Follows the guest into the successor, over the same connection or, as usual, over a new one. Throws
 * MigrationFailedError when it stayed where it was.
 */
async function awaitSuccessor(
  script: Script<typeof options>,
  machine: QmpClient,
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
        throw new MigrationFailedError("failed", migration["error-desc"]);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    } catch (error) {
      if (!(error instanceof QmpDisconnectedError)) throw error;
      client = await QmpClient.connect(machine.address, { wait: true, signal });
    }
  }
}
