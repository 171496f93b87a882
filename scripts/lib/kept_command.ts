/** The command line that belongs to a guest at rest in a file, so that it can be started again. */
import { z } from "zod";
import { alone, appending } from "./command_line.ts";
import { type OptionShape, UsageError } from "./options.ts";
import type { Script } from "./script.ts";
import type { CommandLine } from "./successor.ts";

const keptCommand = z.object({
  command: z.array(z.string()).min(1),
  directory: z.string(),
});

/** The file beside `file` that has the command line. */
export function commandFile(file: string): string {
  return `${file}.command.json`;
}

/** A running process's command line as it is to be used when the process has ended. */
export function lasting({ command, directory }: CommandLine): CommandLine {
  return { command: alone(appending(command)), directory };
}

/** Writes a command line. */
export async function keepCommand<S extends OptionShape>(
  script: Script<S>,
  file: string,
  line: CommandLine,
): Promise<void> {
  const path = commandFile(file);
  const text = JSON.stringify(line, undefined, 2);
  await script.act(
    `write ${path}`,
    () => Deno.writeTextFile(path, `${text}\n`, { mode: 0o600 }),
  );
}

/** Reads it. */
export async function readKeptCommand(file: string): Promise<CommandLine> {
  const path = commandFile(file);
  try {
    return keptCommand.parse(JSON.parse(await Deno.readTextFile(path)));
  } catch (cause) {
    throw new UsageError(`cannot read a command line from ${path}: give it after --`, { cause });
  }
}
