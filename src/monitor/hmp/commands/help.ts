/** `help`. */
import { defineHumanCommand, describeCommand, findCommand, type HumanCommand } from "../command.ts";
import { commandNames } from "../completion.ts";
import { optionalText } from "../parameters.ts";

/** What `help TOPIC SUBTOPIC` shows; nothing given: all commands. */
function help(
  commands: readonly HumanCommand[],
  topic: string | undefined,
  subtopic: string | undefined,
): string {
  if (topic === undefined) return commands.map((command) => describeCommand(command)).join("");
  const found = findCommand(commands, topic);
  if (found === undefined) return `unknown command: '${topic}'\n`;
  if (found.subcommands === undefined) return describeCommand(found);
  const prefix = `${found.names} `;
  if (subtopic === undefined) {
    return found.subcommands.map((command) => describeCommand(command, prefix)).join("");
  }
  const subcommand = findCommand(found.subcommands, subtopic);
  if (subcommand === undefined) return `unknown command: '${topic} ${subtopic}'\n`;
  return describeCommand(subcommand, prefix);
}

export const helpCommands: readonly HumanCommand[] = [
  defineHumanCommand({
    names: "help|?",
    help: "show the help",
    parameters: { topic: optionalText, subtopic: optionalText },
    usage: "[cmd]",
    choices: commandNames,
    run: ({ commands, print }, { topic, subtopic }) => print(help(commands, topic, subtopic)),
  }),
];
