/**
 * deno task update:transfer: hands a running guest to another process by cpr-transfer.
 *
 *   successor starts, listens -> mode=cpr-transfer -> migrate: memory and devices go over
 *   -> the guest runs in the successor -> the old process ends -> the sockets' names go over
 */
import type { MigrationChannel, QmpClient } from "../src/qmp_client/mod.ts";
import { receiving } from "./lib/command_line.ts";
import { awaitListening } from "./lib/listening.ts";
import { checkMovable, checkShared, configure, follow, pauseText } from "./lib/migration.ts";
import { address, count, value } from "./lib/options.ts";
import { checkFirst, preflightOptions } from "./lib/preflight.ts";
import { nameOf, processOf } from "./lib/processes.ts";
import { ExitStatus, messageOf, runScript, ScriptError } from "./lib/script.ts";
import { requireUser } from "./lib/users.ts";
import {
  awaitArrival,
  checkFolder,
  checkUnused,
  connectToSuccessor,
  planSuccessor,
  startSuccessor,
  takePlace,
} from "./lib/successor.ts";

const options = {
  "qmp": address("the running machine's monitor: a unix socket's path, or HOST:PORT"),
  "successor-qmp": address("the successor's monitor; default: its command's first -qmp")
    .optional(),
  "log": value("FILE", "where what the successor prints is added; default: nowhere").optional(),
  "timeout": count("SECONDS", 1, "how long the successor may take to answer").default(30),
  ...preflightOptions,
};

await runScript({
  usage: "update:transfer --qmp ADDRESS [OPTION ...] [-- COMMAND ...]",
  about: `
Hands a running guest to another process on this host by cpr-transfer: to a new version of the program
that runs it, or to another program. The guest's memory stays where it is. It has to be shared:
-object memory-backend-memfd,share=on or -file, and -machine aux-ram-share=on.
It works with molt, with QEMU, and from one to the other.

COMMAND is the successor with all its arguments, without -incoming. By default it is the command line
of the running process, with PATH.next for the paths of server sockets and of -pidfile: they get their
names when the old process has ended. Until the successor has taken the guest over, whatever fails
leaves it where it was.`,
  options,
}, async (script) => {
  const { options } = script;
  const limit = options.timeout * 1000;
  await using cleanup = new AsyncDisposableStack();
  const machine = cleanup.use(await script.connect(options.qmp));
  const before = await checkMovable(machine);
  await checkShared(machine);
  const old = await processOf(machine);
  if (!script.command || Deno.uid() !== 0) {
    requireUser(old.pid, "a successor that is started here", { root: false });
  }
  script.report({ before: old.program });
  script.say(`process ${old.pid} runs ${nameOf(machine)}; the guest is ${before}`);

  const folder = await Deno.makeTempDir({ prefix: "molt-update-" });
  cleanup.defer(() => Deno.remove(folder, { recursive: true }));
  const channels = (["main", "cpr"] as const).map((type): MigrationChannel => ({
    "channel-type": type,
    "addr": { transport: "socket", type: "unix", path: `${folder}/${type}` },
  }));
  const incoming = channels.map((channel) => JSON.stringify(channel));
  const plan = planSuccessor(script.command, old, incoming, {
    monitor: options["successor-qmp"],
    mode: "cpr-transfer",
  });

  await checkUnused(plan.address);
  await checkFolder(plan.directory);
  // What it listens on is its source's affair: nobody connects to what is only asked.
  if (!await checkFirst(script, options, machine, receiving(plan.command))) return;
  // With the return path the source learns whether the guest has arrived.
  cleanup.use(
    await configure(script, machine, {
      capabilities: ["return-path"],
      parameters: { "mode": "cpr-transfer" },
    }),
  );
  await using undo = new AsyncDisposableStack();
  const log = options.log ?? `${folder}/log`;
  const program = await startSuccessor(script, undo, plan, log);
  await script.wait(`the successor listens on ${folder}/cpr`, async () => {
    await program?.waitFor(
      { limit, signal: script.signal },
      (signal) => awaitListening(`${folder}/cpr`, program.pid, signal),
    );
  });
  const connecting = program?.waitFor(
    { limit },
    (signal) => connectToSuccessor(plan.address, signal),
  );
  // Awaited below, unless the migration fails before.
  connecting?.catch(() => {});
  using stops = machine.events("STOP");
  await script.change(machine, "migrate", { channels });
  await script.wait("the migration has completed", async () => {
    if (program) await program.explaining(() => follow(script, machine, limit));
  });
  // From here on the guest is the successor's, whose memory the old process only shares.
  undo.move();

  let successor: QmpClient | undefined;
  const arrival = await script.wait("the guest goes on in the successor", async () => {
    try {
      const monitor = await connecting;
      if (!program || !monitor) return undefined;
      successor = cleanup.use(monitor.client);
      return await program.waitFor({ limit }, (signal) => awaitArrival(monitor, signal));
    } catch (cause) {
      const text = `process ${program?.pid} has been given the guest, but`;
      throw new ScriptError(ExitStatus.lost, `${text} ${messageOf(cause)}`, { cause });
    }
  });
  await takePlace(script, { plan, machine, successor, old, limit });
  if (!arrival) return;
  const [stop] = stops.takeAll();
  const pause = stop && (arrival.time - stop.time) / 1000;
  const { pid, name, status } = { ...arrival, pid: program?.pid };
  script.report({ pid, program: name, status, pause });
  script.say(`process ${pid} runs ${name}; the guest is ${status}${pauseText(pause)}`);
});
