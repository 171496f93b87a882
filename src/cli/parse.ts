/** From the words of a command line to a configuration. */
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import { combine } from "./combine.ts";
import { CommandLine, type HostAccess } from "./command_line.ts";

/**
 * What the words after the program's name ask for. Throws an OptionError whose message is one line for the
 * user, or an InformationRequest if they ask for text only.
 */
export function parseCommandLine(
  argv: readonly string[],
  host?: HostAccess,
): VirtualMachineConfig {
  const commandLine = new CommandLine(host);
  commandLine.follow(argv);
  return combine(commandLine);
}

/** molt's own commands, which are not options of a machine. */
const subcommands: readonly string[] = ["check", "inspect"];

/** Whether the words after the program's name are one of molt's own commands with its arguments. */
export function isSubcommand(argv: readonly string[]): boolean {
  return subcommands.includes(argv[0] ?? "");
}
