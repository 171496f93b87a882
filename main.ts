/** molt: starts a virtual machine, or one of molt's own subcommands. */
import "./src/program_start.ts";
import { InformationRequest, OptionError } from "./src/cli/errors.ts";
import { parseCommandLine } from "./src/cli/command_line.ts";
import { readExecState } from "./src/migration/cpr/descriptors.ts";
import { Timeline } from "./src/migration/cpr/timeline.ts";
import { EventLoop } from "./src/native/event_loop.ts";
import { VirtualMachine } from "./src/virtual_machine.ts";

/** Runs a virtual machine until it ends. */
async function run(argv: readonly string[]): Promise<void> {
  const timeline = new Timeline();
  timeline.mark("program loaded");
  const inherited = readExecState();
  const config = parseCommandLine(argv);
  const loop = new EventLoop();
  const served = loop.run();
  using vm = await VirtualMachine.create(config, loop, inherited, timeline);
  inherited?.[Symbol.dispose]();
  await vm.ended;
  await vm.monitors.drained();
  loop.stop();
  await served;
}

try {
  await run(Deno.args);
  Deno.exit(0);
} catch (error) {
  if (error instanceof InformationRequest) {
    console.log(error.message);
    Deno.exit(0);
  }
  if (!(error instanceof Error)) throw error;
  console.error(`molt: ${error.message}`);
  if (!(error instanceof OptionError) && Deno.args.includes("-d")) console.error(error.stack);
  Deno.exit(1);
}
