/** Runs and completes command lines with all commands: loaded when the first one is typed. */
import { type HumanInvocation, runLine } from "./command.ts";
import { humanCommands } from "./commands/index.ts";
import { complete } from "./completion.ts";

/** Runs one line. What is wrong with it is printed; nothing is thrown. */
export function runHumanLine(
  invocation: Omit<HumanInvocation, "commands">,
  line: string,
): Promise<void> {
  return runLine({ ...invocation, commands: humanCommands }, line);
}

/** Words that could complete the last one of `text`. */
export function completeHumanLine(text: string): readonly string[] {
  return complete(humanCommands, text);
}
