/** A command line's words, edited as the parser reads them. */
import { CommandLine } from "./command_line.ts";

/** The words without the option `name` and its arguments. Words that no molt understands stay. */
export function withoutOption(words: readonly string[], name: string): string[] {
  const commandLine = new CommandLine();
  const kept: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    const option = commandLine.find(word);
    const count = option?.argument === undefined ? 1 : 2;
    if (!option?.names.includes(name)) kept.push(...words.slice(index, index + count));
    index += count - 1;
  }
  return kept;
}
