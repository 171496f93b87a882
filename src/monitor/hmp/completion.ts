/** What could be typed next: names of commands, and of what some of them are about. */
import { findCommand, type HumanCommand } from "./command.ts";

/** Words that could complete the last one of `text`; most arguments are not completed. */
export function complete(commands: readonly HumanCommand[], text: string): readonly string[] {
  const words = text.trimStart().split(/\s+/);
  const last = words.pop() ?? "";
  return candidates(commands, words).filter((name) => name.startsWith(last)).toSorted();
}

function candidates(
  commands: readonly HumanCommand[],
  words: readonly string[],
): readonly string[] {
  let level = commands;
  for (const [index, word] of words.entries()) {
    const command = findCommand(level, word);
    const isLast = index === words.length - 1;
    if (isLast && command?.choices !== undefined) return command.choices(commands);
    level = command?.subcommands ?? [];
  }
  return commandNames(level);
}

/** All names of `commands`. */
export function commandNames(commands: readonly HumanCommand[]): readonly string[] {
  return commands.flatMap(({ names }) => names.split("|"));
}
