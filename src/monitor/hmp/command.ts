/**
 * Human monitor commands as data: names, parameters, help, and what they do in terms of a
 * {@linkcode MonitorContext}. One table serves the interactive monitor and human-monitor-command.
 */
import type { Descriptor } from "../../native/descriptor.ts";
import type { MonitorContext } from "../context.ts";
import { ExpressionError } from "./expression.ts";
import { ArgumentReader, HumanArgumentError, type Parameter } from "./parameters.ts";
import { readRegister } from "./registers.ts";
import type { HumanState } from "./state.ts";

/** A command being run. */
export interface HumanInvocation {
  readonly context: MonitorContext;
  readonly state: HumanState;
  /** All commands, for help. */
  readonly commands: readonly HumanCommand[];
  /** Shows text; lines end with `\n`. */
  print(text: string): void;
  /** The descriptor (SCM_RIGHTS) that came with the command, now the command's. */
  takeDescriptor(): Descriptor | undefined;
  /**
   * Waits as long as it takes. A live update does not wait for it: the successor shows the prompt.
   * `interrupted` is called when the user types Ctrl-C. Absent where the monitor cannot be kept waiting.
   */
  suspend?(until: Promise<void>, interrupted: () => void): Promise<void>;
}

/** A command as monitors run it. */
export interface HumanCommand {
  /** `stop|s`: all names, the full one first. */
  readonly names: string;
  /** How its parameters are written. */
  readonly usage: string;
  readonly help: string;
  /** Commands that follow this word, as those of `info`. */
  readonly subcommands?: readonly HumanCommand[];
  /** Words that its first parameter may be, for completion. */
  readonly choices?: (commands: readonly HumanCommand[]) => readonly string[];
  /** Reads the parameters from `text` and runs. */
  run(invocation: HumanInvocation, text: string): Promise<void>;
}

/** How a command is declared. */
export interface HumanCommandDefinition<Values extends Record<string, unknown>> {
  readonly names: string;
  readonly help: string;
  readonly parameters: { readonly [Name in keyof Values]: Parameter<Values[Name]> };
  /** Where the parameters' own words are not enough. */
  readonly usage?: string;
  readonly subcommands?: readonly HumanCommand[];
  readonly choices?: (commands: readonly HumanCommand[]) => readonly string[];
  run(invocation: HumanInvocation, values: Values): void | Promise<void>;
}

/** Makes a command of its declaration. */
export function defineHumanCommand<Values extends Record<string, unknown>>(
  definition: HumanCommandDefinition<Values>,
): HumanCommand {
  const parameters: [string, Parameter<unknown>][] = Object.entries(definition.parameters);
  const letters = parameters.flatMap(([, { flag }]) => flag === undefined ? [] : [flag]);
  const flags = new Set(letters);
  return {
    names: definition.names,
    help: definition.help,
    usage: definition.usage ?? parameters.map(([name, { usage }]) => usage(name)).join(" "),
    ...(definition.subcommands === undefined ? {} : { subcommands: definition.subcommands }),
    ...(definition.choices === undefined ? {} : { choices: definition.choices }),
    run: async (invocation, text) => {
      const { context, state } = invocation;
      const input = new ArgumentReader({
        text,
        command: definition.names,
        flags,
        register: (name) => readRegister(context.cpus.registers(state.cpu), name),
        lastFormat: state.format,
      });
      const values = Object.fromEntries(parameters.map(([name, { read }]) => [name, read(input)]));
      input.finish();
      await definition.run(invocation, values as Values);
    },
  };
}

/** The command that `name` is a name of. */
export function findCommand(
  commands: readonly HumanCommand[],
  name: string,
): HumanCommand | undefined {
  return commands.find(({ names }) => names.split("|").includes(name));
}

/** A command's line in `help`: `info version  -- show the version of QEMU`. */
export function describeCommand({ names, usage, help }: HumanCommand, prefix = ""): string {
  return `${prefix}${names} ${usage} -- ${help}\n`;
}

/** Runs one line. What is wrong with it is printed; nothing is thrown. */
export async function runLine(invocation: HumanInvocation, line: string): Promise<void> {
  let commands: readonly HumanCommand[] = invocation.commands;
  let command: HumanCommand | undefined;
  let at = line.length - line.trimStart().length;
  const start = at;
  let end = at;
  while (command === undefined || command.subcommands !== undefined) {
    const word = /^[^\s/]+/.exec(line.slice(at))?.[0];
    if (word === undefined) break;
    end = at + word.length;
    const found = findCommand(commands, word);
    if (found === undefined) {
      return invocation.print(`unknown command: '${line.slice(start, end)}'\n`);
    }
    command = found;
    commands = found.subcommands ?? [];
    at = end + (/^\s*/.exec(line.slice(end))?.[0].length ?? 0);
  }
  if (command === undefined) {
    if (line.trim() !== "") invocation.print(`unknown command: '${line.slice(start)}'\n`);
    return;
  }
  try {
    await command.run(invocation, line.slice(end));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (error instanceof ExpressionError || error instanceof HumanArgumentError) {
      invocation.print(`${message}\nTry "help ${line.slice(start, end)}" for more information\n`);
    } else {
      invocation.print(`Error: ${message}\n`);
    }
  }
}
