/**
 * deno task update:reboot: a guest rests in files while its process, or its whole host, is replaced.
 *
 *   save    mode=cpr-reboot, x-ignore-shared -> migrate to FILE -> the process ends
 *   resume  a machine with -incoming defer -> the same settings -> migrate-incoming -> FILE is removed
 */
import { absolutePath, removeIfThere } from "./lib/files.ts";
import {
  commandFile,
  keepCommand,
  type KeptCommand,
  lasting,
  readKeptCommand,
} from "./lib/kept_command.ts";
import { checkMovable, configure, follow, formatBytes, type Settings } from "./lib/migration.ts";
import { address, count, UsageError, value } from "./lib/options.ts";
import { awaitEnd, nameOf, processOf } from "./lib/processes.ts";
import { runScript, type Script } from "./lib/script.ts";
import { planMachine, receive, startWaiting } from "./lib/successor.ts";
import { requireUser } from "./lib/users.ts";

const options = {
  "state": value("FILE", "where the devices are meanwhile, and memory that no named file has"),
  "qmp": address("the machine's monitor; resume: default its command's first -qmp")
    .optional(),
  "log": value("FILE", "where what the resumed machine prints is added; default: nowhere")
    .optional(),
  "timeout": count("SECONDS", 1, "how long a machine may take to answer or to end").default(30),
};
type RebootScript = Script<typeof options>;

/** Memory in a shared file stays there. */
const settings: Settings = {
  capabilities: ["x-ignore-shared"],
  parameters: { "mode": "cpr-reboot" },
};

await runScript({
  usage: "update:reboot [save|resume] --state FILE --qmp ADDRESS [OPTION ...] [-- COMMAND ...]",
  about: `
save     Stops a guest, writes its devices to FILE and ends its process. Memory of
         -object memory-backend-file,share=on stays in its file, which lasts as long as its file
         system: /dev/shm until the host reboots, DAX or a disk beyond that. Other memory goes to FILE.
         FILE.command.json says how the machine was started.
resume   Starts a machine that goes on with the guest, and removes both files. COMMAND is its program
         with all arguments, without -incoming; by default what FILE.command.json says.

Without either it saves and resumes: the program is replaced, and the guest's memory stays in place.
It works with molt, with QEMU, and from one to the other.`,
  options,
  actions: ["save", "resume"],
}, async (script) => {
  const old = script.action === "resume" ? undefined : await save(script);
  if (script.action !== "save") await resume(script, old);
});

async function save(script: RebootScript): Promise<KeptCommand> {
  const { qmp, timeout } = script.options;
  if (qmp === undefined) throw new UsageError("--qmp is missing");
  const state = absolutePath(script.options.state);
  await using machine = await script.connect(qmp);
  const before = await checkMovable(machine);
  const old = await processOf(machine);
  requireUser(old.pid, "a state file, which is written by the machine and kept here,", {
    root: script.action === "save",
  });
  script.report({ before: old.program });
  script.say(`process ${old.pid} runs ${nameOf(machine)}; the guest is ${before}`);

  await using undo = new AsyncDisposableStack();
  undo.use(await configure(script, machine, settings));
  undo.defer(() => script.act(`remove ${state}`, () => removeIfThere(state)));
  undo.defer(() => removeIfThere(commandFile(state)));
  const commandLine = lasting(old);
  await keepCommand(script, state, commandLine);
  await script.change(machine, "migrate", { uri: `file:${state}` });
  await script.wait("the guest's state is in the file", () => follow(script, machine));
  undo.move();

  await script.change(machine, "quit", {});
  await script.wait(`process ${old.pid} has ended`, () => awaitEnd(old.pid, timeout * 1000));
  if (!script.dryRun) {
    const { size } = await Deno.stat(state);
    script.report({ state, size, pid: old.pid });
    script.say(`the guest rests in ${state}, ${formatBytes(size)}`);
  }
  return commandLine;
}

async function resume(script: RebootScript, old: KeptCommand | undefined): Promise<void> {
  const { options } = script;
  const state = absolutePath(options.state);
  const limit = options.timeout * 1000;
  await using cleanup = new AsyncDisposableStack();
  const started = script.command ?? old ?? await readKeptCommand(state);
  if ("program" in started) script.report({ before: started.program });
  const plan = planMachine(started, ["defer"], options.qmp);
  const folder = await Deno.makeTempDir({ prefix: "molt-resume-" });
  cleanup.defer(() => Deno.remove(folder, { recursive: true }));

  await using undo = new AsyncDisposableStack();
  undo.defer(() => script.say(`the guest rests in ${state} until update:reboot resume`));
  const log = options.log ?? `${folder}/log`;
  const waiting = await startWaiting(script, undo, plan, { log, limit });
  if (waiting) cleanup.use(waiting.client);
  script.signal.throwIfAborted();
  // From here on the guest may run, in memory that stayed in its file: there is no way back.
  const arrival = await receive(script, plan, waiting, { uri: `file:${state}`, settings, limit });
  undo.move();
  // The memory goes on from here: what the file says of the devices does not fit it any more.
  await script.act(`remove ${state} and ${commandFile(state)}`, async () => {
    await Deno.remove(state);
    await removeIfThere(commandFile(state));
  });
  if (!waiting || !arrival) return;
  const { name, status } = arrival;
  const { pid } = waiting.program;
  script.report({ pid, program: name, status, monitor: plan.address });
  script.say(`process ${pid} runs ${name}; the guest is ${status}; its monitor is ${plan.address}`);
}
