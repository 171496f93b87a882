/** molt: starts a virtual machine, or one of molt's own subcommands. */
import "./src/program_start.ts";
import { isSubcommand, parseCommandLine } from "./src/cli/command_line.ts";
import { InformationRequest, OptionError } from "./src/cli/errors.ts";
import { readExecState } from "./src/migration/cpr/descriptors.ts";
import { Timeline } from "./src/migration/cpr/timeline.ts";
import { EventLoop } from "./src/native/event_loop.ts";
import { exitWithParent, setProcessName } from "./src/native/process.ts";
import { finishDaemon, startDaemon, takeReadiness } from "./src/process/daemon.ts";
import { setUpMessages, tell } from "./src/process/messages.ts";
import { createPidFile } from "./src/process/pid_file.ts";
import { onEndSignals } from "./src/process/signals.ts";
import { VirtualMachine } from "./src/virtual_machine.ts";

/** Runs a virtual machine until it ends. Returns the exit status. */
async function runMachine(argv: readonly string[]): Promise<number> {
  const timeline = new Timeline();
  timeline.mark("program loaded");
  const inherited = readExecState();
  const config = parseCommandLine(argv);
  const { process, log } = config;
  const readiness = takeReadiness();
  if (process.daemonize && readiness === undefined && inherited === undefined) return startDaemon();
  setUpMessages({
    timestamp: log.timestamp,
    guestName: log.guestName ? config.name : undefined,
    file: log.file,
  });
  if (process.exitWithParent) exitWithParent();
  if (process.name !== undefined) setProcessName(process.name);
  for (const warning of config.warnings) tell(`warning: ${warning}`);

  using resources = new DisposableStack();
  if (process.pidFile !== undefined) resources.use(createPidFile(process.pidFile));
  const loop = new EventLoop();
  const served = loop.run();
  using vm = config.machine.type === "none"
    ? await (await import("./src/empty_machine.ts")).EmptyMachine.create(config, loop)
    : await VirtualMachine.create(config, loop, inherited, timeline);
  inherited?.[Symbol.dispose]();
  resources.use(onEndSignals(() => vm.end("host-signal")));
  if (readiness !== undefined) finishDaemon(readiness);
  await vm.ended;
  await vm.monitors.drained();
  loop.stop();
  await served;
  return 0;
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    if (!isSubcommand(argv)) return await runMachine(argv);
    const { runSubcommand } = await import("./src/cli/subcommand.ts");
    return await runSubcommand(argv);
  } catch (error) {
    if (error instanceof InformationRequest) {
      console.log(error.text);
      return 0;
    }
    if (!(error instanceof Error)) throw error;
    tell(error.message);
    if (error instanceof OptionError && error.hint !== undefined) console.error(error.hint);
    return 1;
  }
}

Deno.exit(await main(Deno.args));
