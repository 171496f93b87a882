/**
 * Monitor commands as data: a name, what arguments it takes, what it returns, and what it does in
 * terms of a {@linkcode MonitorContext}. One declaration serves QMP, its schema and the human monitor.
 */
import type * as z from "zod";
import type { Descriptor } from "../native/descriptor.ts";
import { parseArguments } from "./arguments.ts";
import type { MonitorContext } from "./context.ts";
import type { JsonObject, JsonValue } from "../json/value.ts";

/** What a command can ask of the session that it came by. */
export interface Invocation {
  /** All commands. */
  readonly commands: CommandTable;
  /** The descriptor (SCM_RIGHTS) that came with the command, now the command's. */
  takeDescriptor(): Descriptor | undefined;
  /** Ends the negotiation of a QMP session. Throws if it has ended before. */
  negotiate(capabilities: readonly "oob"[]): void;
}

/** A command as sessions run it. */
export interface Command {
  readonly name: string;
  /** May run out of band: at once, before commands that came earlier. */
  readonly oob: boolean;
  readonly arguments: z.ZodObject;
  readonly returns: z.ZodType | undefined;
  /** Checks the arguments and runs. Errors are as {@linkcode describeError} words them. */
  invoke(context: MonitorContext, given: JsonObject, invocation: Invocation): Promise<JsonValue>;
}

/** All commands, by name. */
export type CommandTable = ReadonlyMap<string, Command>;

/** How a command is declared. */
export interface CommandDefinition<
  Arguments extends z.ZodObject,
  Returns extends z.ZodType<JsonValue>,
> {
  readonly name: string;
  readonly oob?: boolean;
  readonly arguments: Arguments;
  /** An empty object if it is not given. */
  readonly returns?: Returns;
  run(
    context: MonitorContext,
    given: z.output<Arguments>,
    invocation: Invocation,
  ): z.output<Returns> | void | Promise<z.output<Returns> | void>;
}

/** Makes a command of its declaration. */
export function defineCommand<
  Arguments extends z.ZodObject,
  Returns extends z.ZodType<JsonValue>,
>(definition: CommandDefinition<Arguments, Returns>): Command {
  return {
    name: definition.name,
    oob: definition.oob ?? false,
    arguments: definition.arguments,
    returns: definition.returns,
    invoke: async (context, given, invocation) => {
      const checked = parseArguments(definition.arguments, given);
      return await definition.run(context, checked, invocation) ?? {};
    },
  };
}

/** A table of commands. Throws if two have one name. */
export function commandTable(commands: readonly Command[]): CommandTable {
  const table = new Map<string, Command>();
  for (const command of commands) {
    if (table.has(command.name)) throw new Error(`Two commands are named '${command.name}'`);
    table.set(command.name, command);
  }
  return table;
}
