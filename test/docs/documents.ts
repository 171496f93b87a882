/**
 * README.md and docs/*.md as their test sees them: fenced blocks, and what becomes of each.
 *
 * `sh` is run; of `console` the lines after `$ ` are run, and what follows each is what it must print, where
 * `...` stands for anything. A comment before a block, which readers do not see, says otherwise:
 *
 *   <!-- not run: REASON -->     it is only counted
 *   <!-- run by .ci/run -->      each of its commands is a step of .ci/run
 *   <!-- first terminal -->      it runs on while the following blocks run, until the document's end
 *   <!-- file: PATH -->          it is what a file of the reader's holds
 *
 * `<!-- needs /dev/kvm from here on -->` stands anywhere.
 */

/** The checkout. */
export const root = new URL("../../", import.meta.url).pathname;

/** What becomes of a block. */
export type Handling =
  | { readonly kind: "run" }
  | { readonly kind: "compared"; readonly exchanges: readonly Exchange[] }
  | { readonly kind: "first terminal" }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "CI step" }
  | { readonly kind: "not run"; readonly reason: string }
  | { readonly kind: "text" };

/** A command of a console, and what it prints. */
export interface Exchange {
  readonly command: string;
  readonly output: string;
}

/** A fenced block. */
export interface Block {
  readonly document: string;
  /** The line of its opening fence, counted from 1. */
  readonly line: number;
  readonly text: string;
  readonly handling: Handling;
  readonly needsKvm: boolean;
}

/** Names of the documents, README.md first, relative to the checkout. */
export function documentNames(): string[] {
  const names = [...Deno.readDirSync(`${root}docs`)].map(({ name }) => name)
    .filter((name) => name.endsWith(".md"));
  return ["README.md", ...names.toSorted().map((name) => `docs/${name}`)];
}

/** A document's text. */
export function readDocument(name: string): string {
  return Deno.readTextFileSync(`${root}${name}`);
}

/** The blocks of a document. Throws, naming the line, for code that nobody knows what to do with. */
export function blocksOf(document: string, markdown = readDocument(document)): Block[] {
  const lines = markdown.split("\n");
  const blocks: Block[] = [];
  let note: string | undefined;
  let needsKvm = false;
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    const place = `${document}:${index + 1}`;
    if (/^\s+```/.test(line)) throw new Error(`${place}: a fence begins at the first column`);
    const comment = /^<!-- (.*) -->$/.exec(line)?.[1];
    if (comment === "needs /dev/kvm from here on") {
      needsKvm = true;
    } else if (comment !== undefined) {
      note = comment;
    } else if (line.startsWith("```")) {
      const end = lines.indexOf("```", index + 1);
      if (end < 0) throw new Error(`${place}: no end of this block`);
      const text = lines.slice(index + 1, end).map((line) => `${line}\n`).join("");
      const handling = handlingOf(line.slice(3), note, text, place);
      blocks.push({ document, line: index + 1, text, handling, needsKvm });
      note = undefined;
      index = end;
    } else if (/^ {4}/.test(line) && lines[index - 1] === "") {
      throw new Error(`${place}: code belongs in a fence that says its language`);
    } else if (line !== "" && note !== undefined) {
      throw new Error(`${place}: no block follows the comment '${note}'`);
    }
  }
  return blocks;
}

function handlingOf(
  language: string,
  note: string | undefined,
  text: string,
  place: string,
): Handling {
  const isCommand = language === "sh" || language === "console";
  const [, what, value = ""] = /^([^:]*)(?:: (.+))?$/.exec(note ?? "") ?? [];
  if (what === "file" && value !== "") return { kind: "file", path: value };
  if (!isCommand) {
    if (note !== undefined) throw new Error(`${place}: '${note}' before a block of ${language}`);
    if (language !== "text" && language !== "json") {
      throw new Error(`${place}: a block of '${language}', which nobody runs`);
    }
    const command = /^(\$|deno|npx|npm|sh|molt|dist\/molt|qmp|scripts\/\S+) /m.exec(text)?.[0];
    if (command !== undefined) throw new Error(`${place}: '${command.trim()}' belongs in sh`);
    return { kind: "text" };
  }
  if (what === "not run" && value !== "") return { kind: "not run", reason: value };
  if (what === "run by .ci/run") return { kind: "CI step" };
  if (what === "first terminal") return { kind: "first terminal" };
  if (note !== undefined) throw new Error(`${place}: the comment '${note}' is not known`);
  if (language === "sh") return { kind: "run" };
  return { kind: "compared", exchanges: exchangesOf(text, place) };
}

/** Commands may go on in lines that begin with `> `, as a shell shows them. */
function exchangesOf(text: string, place: string): Exchange[] {
  const exchanges: { command: string; output: string }[] = [];
  for (const line of text.trimEnd().split("\n")) {
    const last = exchanges.at(-1);
    if (line.startsWith("$ ")) exchanges.push({ command: line.slice(2), output: "" });
    else if (last === undefined) throw new Error(`${place}: a console begins with '$ '`);
    else if (line.startsWith("> ") && last.output === "") last.command += `\n${line.slice(2)}`;
    else last.output += `${line}\n`;
  }
  return exchanges;
}

/** Whether `output` is what a document shows, where `...` stands for anything. */
export function matches(shown: string, output: string): boolean {
  const parts = shown.trimEnd().split("...").map((part) =>
    part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")
  );
  return new RegExp(`^${parts.join("[^]*")}$`).test(output.trimEnd());
}

/** Commands of a block of sh, without comments. */
export function commandsOf(text: string): string[] {
  return text.replaceAll("\\\n", " ").split("\n")
    .map((line) => line.replace(/(^|\s)#.*/, "").trim().replaceAll(/\s+/g, " "))
    .filter((line) => line !== "");
}

/** Commands that .ci/run executes, as they are typed with `deno` on the path and without. */
export function ciCommands(): Set<string> {
  const script = Deno.readTextFileSync(`${root}.ci/run`);
  const deno = /^deno="(.*)"$/m.exec(script)?.[1] ?? "";
  const steps = [...script.matchAll(/^ *step \S+ \d+ \$deno (.*)$/gm)].map(([, rest]) => rest);
  return new Set(steps.flatMap((rest) => [`${deno} ${rest}`, `deno ${rest}`]));
}
