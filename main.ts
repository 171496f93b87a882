/** molt: starts a virtual machine, or one of molt's own subcommands. */
import "./src/program_start.ts";
import { usage } from "./src/cli/help.ts";
import { isSubcommand, parseCommandLine } from "./src/cli/parse.ts";
import { InformationRequest } from "./src/cli/information.ts";
import { withoutOption } from "./src/cli/words.ts";
import { OptionError } from "./src/configuration/errors.ts";
import { runInterimMonitor } from "./src/interim_monitor.ts";
import { runPreflight } from "./src/preflight.ts";
import type { VirtualMachineConfig } from "./src/configuration/virtual_machine.ts";
import { readTracePatterns, traceWarnings } from "./src/cli/trace.ts";
import { reapInterimMonitor } from "./src/migration/cpr/interim/waiting_guest.ts";
import { type MonitorRole, type Role, takeRole } from "./src/migration/cpr/role.ts";
import { Timeline } from "./src/migration/cpr/timeline.ts";
import { type EventLoop, processLoop } from "./src/native/event_loop.ts";
import { exitWithParent, letEngineThreadsWait, setProcessName } from "./src/native/process.ts";
import { finishDaemon, startDaemon, takeReadiness } from "./src/process/daemon.ts";
import { launch } from "./src/process/launch.ts";
import { announce, createLogFile, report, setUpMessages } from "./src/process/messages.ts";
import { readOptionFile, readTraceFile } from "./src/process/option_file.ts";
import { createPidFile } from "./src/process/pid_file.ts";
import { outliveFaults, reportFaults } from "./src/process/faults.ts";
import { onEndSignals } from "./src/process/signals.ts";
import { setTraces, setUpTrace } from "./src/process/trace.ts";
import { VirtualMachine } from "./src/virtual_machine.ts";

/** Runs a virtual machine until it ends. Returns the exit status. */
async function runMachine(argv: readonly string[]): Promise<number> {
  using resources = new DisposableStack();
  const role = takeRole();
  const inherited = role.kind === "successor" ? role.inherited : undefined;
  const timeline = resources.use(new Timeline(inherited, "monitor"));
  timeline.mark("program loaded");
  const config = parseCommandLine(argv, { readText: readOptionFile });
  const { process, log } = config;
  launch.follow(config, withoutOption);
  const readiness = takeReadiness();
  const first = role.kind === "first";
  if (process.daemonize && first && readiness === undefined) return startDaemon();
  setUpMessages({
    timestamp: log.timestamp,
    guestName: log.guestName ? config.name : undefined,
    quiet: config.qtest !== undefined,
  });
  const tracePatterns = log.traceFiles.flatMap((path) => readTracePatterns(readTraceFile(path)));
  setUpTrace({ timestamp: log.timestamp, file: log.file });
  setTraces([...log.tracePatterns, ...tracePatterns]);
  if ((process.exitWithParent && first) || role.kind === "preflight") exitWithParent();
  if (process.name !== undefined) setProcessName(process.name);
  if (first) {
    if (log.file !== undefined) createLogFile(log.file);
    for (const pattern of tracePatterns) traceWarnings(pattern).forEach(report);
    config.warnings.forEach(report);
  }

  const { pidFile } = process;
  const writePidFile = () => pidFile !== undefined && resources.use(createPidFile(pidFile));
  if (role.kind === "first" || role.kind === "successor") writePidFile();
  // From here on there may be a guest: what fails ends no more than it must.
  resources.use(outliveFaults());
  const loop = processLoop();
  const served = loop.run();
  letEngineThreadsWait();
  using vm = await obtainMachine(config, loop, role, timeline);
  if (vm !== undefined) {
    // An interim monitor that stays has a guest, which is worth more than a file.
    if (role.kind === "interim") reportFaults(writePidFile);
    resources.use(onEndSignals(() => vm.end("host-signal")));
    inherited?.[Symbol.dispose]();
    const left = process.daemonize ? vm.opened.then(() => launch.leaveFolder()) : undefined;
    if (!vm.awaitsGuest) await left;
    if (readiness !== undefined) {
      // If a guest that is loaded from a file cannot be, whoever started the daemon is to know.
      await Promise.race([vm.started(), vm.ended]);
      finishDaemon(readiness);
    }
    if (role.kind === "successor" && role.interimMonitor !== undefined) {
      void reapInterimMonitor(role.interimMonitor);
    }
    await vm.ended;
    await vm.monitors.drained();
  }
  loop.stop();
  await served;
  return 0;
}

/** The machine that this process is the monitor of; `undefined` if it has none, or none any more. */
async function obtainMachine(
  config: VirtualMachineConfig,
  loop: EventLoop,
  role: Role,
  timeline: Timeline,
) {
  switch (role.kind) {
    case "preflight":
      await runPreflight(config, loop, role.sockets);
      return undefined;
    case "interim":
      return await runInterimMonitor(config, loop, role.sockets);
    default:
      return await createMachine(config, loop, role, timeline);
  }
}

async function createMachine(
  config: VirtualMachineConfig,
  loop: EventLoop,
  role: MonitorRole,
  timeline: Timeline,
) {
  if (config.machine.type !== "none") {
    return await VirtualMachine.create(config, loop, role, timeline);
  }
  const { EmptyMachine } = await import("./src/empty_machine.ts");
  return await EmptyMachine.create(config, loop);
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    if (argv.length === 0) {
      throw new OptionError("nothing to start: no kernel, firmware or disk is named", usage);
    }
    if (!isSubcommand(argv)) return await runMachine(argv);
    const { runSubcommand } = await import("./src/cli/subcommand.ts");
    return await runSubcommand(argv);
  } catch (error) {
    if (error instanceof InformationRequest) {
      announce(error.text);
      return error.exitStatus;
    }
    if (!(error instanceof Error)) throw error;
    report(error.message);
    if (error instanceof OptionError && error.hint !== undefined) console.error(error.hint);
    return 1;
  }
}

Deno.exit(await main(Deno.args));
