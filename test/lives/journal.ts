/** What was done in a life, so that a failed one can be read and repeated by hand. */

/** One step, with the commands that it took. */
interface Entry {
  readonly step: string;
  readonly commands: string[];
}

/** The steps of a life in their order. */
export class Journal {
  readonly #entries: Entry[] = [{ step: "start", commands: [] }];

  /** A step begins. */
  begin(step: string): void {
    this.#entries.push({ step, commands: [] });
  }

  /** A command, as one could type it. */
  note(command: string): void {
    this.#entries.at(-1)?.commands.push(command);
  }

  /** All of it as text. */
  toString(): string {
    return this.#entries.map(({ step, commands }, index) =>
      [`${index}. ${step}`, ...commands.map((command) => `     ${command}`)].join("\n")
    ).join("\n");
  }
}

/** A command line that can be typed. */
export function quoted(command: readonly string[]): string {
  return command.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
  ).join(" ");
}
