/** What could be typed next: names of commands. */
import { findCommand, type HumanCommand } from "./command.ts";

/** Words that could complete the last one of `text`; other arguments are not completed. */
export function complete(commands: readonly HumanCommand[], text: string): readonly string[] {
  const words = text.trimStart().split(/\s+/);
  const last = words.pop() ?? "";
  let level: readonly HumanCommand[] = commands;
  for (const word of words) level = findCommand(level, word)?.subcommands ?? [];
  const names = level.flatMap((command) => command.names.split("|"));
  return names.filter((name) => name.startsWith(last)).sort();
}
