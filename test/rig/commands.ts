/** Running programs of the host. */

/** A program failed. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** How to run a program. */
export interface RunOptions {
  readonly directory?: string;
  readonly env?: Record<string, string>;
}

/** Runs a program to its end and returns its standard output. Throws what it said if it fails. */
export async function run(
  command: readonly string[],
  { directory, env }: RunOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const [program = "", ...args] = command;
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(program, {
      args,
      stdin: "null",
      ...(directory === undefined ? {} : { cwd: directory }),
      ...(env === undefined ? {} : { env }),
    }).output();
  } catch (cause) {
    throw new CommandError(`cannot run ${program}: is it installed?`, { cause });
  }
  if (!output.success) {
    const said = new TextDecoder().decode(output.stderr).trim();
    throw new CommandError(`${command.join(" ")} ended with status ${output.code}: ${said}`);
  }
  return new Uint8Array(output.stdout);
}

/** Runs a program and returns its standard output as text. */
export async function runForText(
  command: readonly string[],
  options?: RunOptions,
): Promise<string> {
  return new TextDecoder().decode(await run(command, options));
}
