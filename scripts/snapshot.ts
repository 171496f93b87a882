/**
 * deno task snapshot: a guest to a file, and back from it.
 *
 *   save     mapped-ram, multifd -> migrate to FILE.partial -> cont -> rename to FILE
 *   restore  a machine with -incoming defer -> mapped-ram, multifd -> migrate-incoming
 */
import { keepCommand, lasting, readKeptCommand } from "./lib/kept_command.ts";
import {
  checkMovable,
  configure,
  follow,
  formatBytes,
  pauseText,
  type Settings,
} from "./lib/migration.ts";
import { absolutePath, removeIfThere } from "./lib/files.ts";
import { address, count, flag, UsageError, value } from "./lib/options.ts";
import { nameOf, processOf } from "./lib/processes.ts";
import { runScript, type Script } from "./lib/script.ts";
import { planMachine, receive, startWaiting } from "./lib/successor.ts";
import { requireUser } from "./lib/users.ts";

const options = {
  "file": value("FILE", "the snapshot"),
  "qmp": address("the machine's monitor; restore: default its command's first -qmp")
    .optional(),
  "channels": count("N", 0, "so many threads write or read (multifd); 0: none").default(2),
  "direct-io": flag("past the page cache, with O_DIRECT"),
  "stop": flag("the guest does not go on: neither after it was saved nor when it was restored"),
  "log": value("FILE", "where what the restored machine prints is added; default: nowhere")
    .optional(),
  "timeout": count("SECONDS", 1, "how long a restored machine may take to answer").default(30),
};
type SnapshotScript = Script<typeof options>;

await runScript({
  usage: "snapshot save|restore --file FILE --qmp ADDRESS [OPTION ...] [-- COMMAND ...]",
  about: `
save     Writes a running guest, its memory and its devices, to a file in which each page has a place
         of its own (mapped-ram). The guest runs meanwhile, but for a moment at the end, and goes on;
         one that was paused rests in state 'postmigrate' until it gets 'cont'.
         A file of that name is replaced when the new one is complete. Disks are not in it.
         FILE.command.json says how the machine was started.
restore  Starts a machine that goes on where the snapshot was made. COMMAND is its program with all
         arguments, without -incoming; by default what FILE.command.json says.

It works with molt and with QEMU, and with each other's files.`,
  options,
  actions: ["save", "restore"],
}, async (script) => {
  if (script.action === "save") await save(script);
  else if (script.action === "restore") await restore(script);
  else throw new UsageError("say what to do: save or restore");
});

function settings({ options }: SnapshotScript): Settings {
  const { channels, "direct-io": directIo } = options;
  return {
    capabilities: channels === 0 ? ["mapped-ram"] : ["mapped-ram", "multifd"],
    parameters: {
      ...(channels === 0 ? {} : { "multifd-channels": channels }),
      "direct-io": directIo,
      "max-bandwidth": 0,
    },
  };
}

async function save(script: SnapshotScript): Promise<void> {
  const { qmp, stop } = script.options;
  if (qmp === undefined) throw new UsageError("--qmp is missing");
  const file = absolutePath(script.options.file);
  const partial = `${file}.partial`;
  await using cleanup = new AsyncDisposableStack();
  const machine = cleanup.use(await script.connect(qmp));
  const before = await checkMovable(machine);
  script.say(`the guest is ${before} in ${nameOf(machine)}`);
  const program = nameOf(machine);
  script.report({ program });
  const old = await processOf(machine);
  requireUser(old.pid, "a snapshot, which is written by the machine and named here,", {
    root: true,
  });
  const started = script.command ? { ...script.command, program } : lasting(old);
  cleanup.use(await configure(script, machine, settings(script)));

  await using undo = new AsyncDisposableStack();
  undo.defer(() => script.act(`remove ${partial}`, () => removeIfThere(partial)));
  await script.change(machine, "migrate", { uri: `file:${partial}` });
  const done = await script.wait("the snapshot is complete", () => follow(script, machine));
  undo.move();
  if (before === "running" && !stop) await script.change(machine, "cont", {});
  await script.act(`rename ${partial} to ${file}`, () => Deno.rename(partial, file));
  await keepCommand(script, file, started);
  if (!done) return;
  const { status } = await machine.execute("query-status");
  const { size, blocks } = await Deno.stat(file);
  const stored = (blocks ?? 0) * 512;
  script.report({
    file,
    size,
    stored,
    status,
    downtime: done.downtime,
    duration: done["total-time"],
  });
  script.say(
    `${file}: ${formatBytes(size)}, of which ${formatBytes(stored)} take space; ` +
      `the guest is ${status}${pauseText(before === "running" ? done.downtime : undefined)}`,
  );
}

async function restore(script: SnapshotScript): Promise<void> {
  const { options } = script;
  const file = absolutePath(options.file);
  const limit = options.timeout * 1000;
  await using cleanup = new AsyncDisposableStack();
  const kept = script.command ?? await readKeptCommand(file);
  if ("program" in kept) script.report({ before: kept.program });
  const plan = planMachine(kept, ["defer"], options.qmp);
  const folder = await Deno.makeTempDir({ prefix: "molt-restore-" });
  cleanup.defer(() => Deno.remove(folder, { recursive: true }));

  await using undo = new AsyncDisposableStack();
  const log = options.log ?? `${folder}/log`;
  const waiting = await startWaiting(script, undo, plan, { log, limit });
  if (waiting) cleanup.use(waiting.client);
  // A machine that is stopped before the guest arrives lets it rest.
  if (options.stop) await script.change(waiting?.client ?? plan.address, "stop", {});
  const arrival = await receive(script, plan, waiting, {
    uri: `file:${file}`,
    settings: settings(script),
    limit,
    signal: script.signal,
  });
  undo.move();
  if (!waiting || !arrival) return;
  const { name, status } = arrival;
  const { pid } = waiting.program;
  script.report({ file, pid, program: name, status, monitor: plan.address });
  script.say(`process ${pid} runs ${name}; the guest is ${status}; its monitor is ${plan.address}`);
}
