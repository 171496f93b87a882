/** The command line that belongs to a guest at rest in a file, so that it can be started again. */
import * as z from "zod";
import { alone, appending } from "./command_line.ts";
import { type OptionShape, UsageError } from "./options.ts";
import type { Script } from "./script.ts";
import type { MachineProcess } from "./processes.ts";
import type { CommandLine } from "./successor.ts";
import { ownerHint } from "./users.ts";

const keptCommand = z.object({
  command: z.array(z.string()).min(1),
  directory: z.string(),
  /** What ran the machine, with its build. */
  program: z.string().optional(),
});

/** A command line, and what program it was. */
export interface KeptCommand extends CommandLine {
  readonly program?: string | undefined;
}

/** The file beside `file` that has the command line. */
export function commandFile(file: string): string {
  return `${file}.command.json`;
}

/** A running process's command line as it is to be used when the process has ended. */
export function lasting({ command, directory, program }: MachineProcess): KeptCommand {
  return { command: alone(appending(command)), directory, program };
}

/** Writes a command line. */
export async function keepCommand<S extends OptionShape>(
  script: Script<S>,
  file: string,
  line: KeptCommand,
): Promise<void> {
  const path = commandFile(file);
  const text = JSON.stringify(line, undefined, 2);
  await script.act(
    `write ${path}`,
    () => Deno.writeTextFile(path, `${text}\n`, { mode: 0o600 }),
  );
}

/** Reads it. */
export async function readKeptCommand(file: string): Promise<KeptCommand> {
  const path = commandFile(file);
  try {
    return keptCommand.parse(JSON.parse(await Deno.readTextFile(path)));
  } catch (cause) {
    const hint = cause instanceof Deno.errors.PermissionDenied ? ownerHint(path) : "";
    throw new UsageError(
      `cannot read a command line from ${path}${hint || ": give it after --"}`,
      { cause },
    );
  }
}
