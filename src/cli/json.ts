/** JSON on the command line, in QMP's dialect. */
import { JsonStreamParser } from "../json/parser.ts";
import type { JsonValue } from "../json/value.ts";
import { OptionError } from "../configuration/errors.ts";
import { isObject, type TreeObject } from "./syntax.ts";

/** Reads JSON text that must be an object. `where` (`-object {...}: `) stands before errors. */
export function parseJsonObject(text: string, where: string): TreeObject {
  let value: JsonValue | undefined;
  const parser = new JsonStreamParser((result) => {
    if (value !== undefined) throw new OptionError(`${where}Expecting at most one JSON value`);
    if (result.kind === "value") {
      value = result.value;
      return;
    }
    const { error } = result;
    throw new OptionError(where + error.message.replace("\n'", "'"), undefined, { cause: error });
  });
  // The line end completes a last word, or shows that a string is unfinished.
  parser.feed(new TextEncoder().encode(`${text}\n`));
  if (value === undefined) {
    const lines = text.split("\n");
    const column = (lines.at(-1)?.length ?? 0) + 1;
    throw new OptionError(
      `${where}${lines.length}:${column}: JSON parse error, premature end of input`,
    );
  }
  if (!isObject(value)) throw new OptionError(`${where}Expecting a JSON object`);
  return value;
}
