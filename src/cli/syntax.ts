/**
 * The two key=value notations of QEMU's command line.
 *
 * An *option list* (`-drive`, `-chardev`, `-m`, ...) is flat: `value,key=value,flag`. Its first part may
 * leave out the key, and a bare word is a deprecated short form: `flag` for `flag=on`, `noflag` for
 * `flag=off`.
 *
 * A *key-value tree* (`-machine`, `-blockdev`, `-incoming`, ...) has dotted keys: `file.driver=file` is the
 * member `driver` of the member `file`, and `args.0=a,args.1=b` is a list. There are no bare words.
 *
 * In both, `,,` in a value stands for a comma.
 */
import type { JsonObject, JsonValue } from "../json/value.ts";
import { OptionError } from "../configuration/errors.ts";
import { isIdentifier } from "../configuration/values.ts";

/** One `key=value`. */
export interface Pair {
  readonly key: string;
  readonly value: string;
}

/** An option list, read. */
export interface OptionList {
  /** In the order given, `id` included; a key given twice is there twice. */
  readonly pairs: readonly Pair[];
  /** Advice on deprecated short forms. */
  readonly warnings: readonly string[];
  /** `help` or `?` was one of its words. */
  readonly help: boolean;
}

/** A key-value tree, or what JSON text means. */
export type Tree = JsonValue;
export type TreeObject = Readonly<JsonObject>;

/** The hint under every complaint about an identifier. */
export const identifierHint =
  "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.";

/** Reads a value from `start` to the next single comma: the value and where it ended. */
function takeValue(text: string, start: number): [value: string, end: number] {
  let value = "";
  let position = start;
  for (;;) {
    const comma = text.indexOf(",", position);
    if (comma < 0) return [value + text.slice(position), text.length];
    value += text.slice(position, comma);
    if (text[comma + 1] !== ",") return [value, comma];
    value += ",";
    position = comma + 2;
  }
}

/** Where a key that starts at `start` ends: at `=`, `,` or the end of the text. */
function keyEnd(text: string, start: number): number {
  for (let end = start; end < text.length; end++) {
    if (text[end] === "=" || text[end] === ",") return end;
  }
  return text.length;
}

/**
 * Reads an option list. `impliedKey` is the key of a first part that has none; `where` (such as
 * `-m 1x: `) stands before warnings and errors.
 */
export function parseOptionList(
  text: string,
  where: string,
  impliedKey: string | undefined,
): OptionList {
  const pairs: Pair[] = [];
  const warnings: string[] = [];
  let help = false;
  let position = 0;
  let first = true;
  while (position < text.length) {
    const end = keyEnd(text, position);
    let key = text.slice(position, end);
    let value: string;
    if (text[end] === "=") {
      [value, position] = takeValue(text, end + 1);
    } else if (first && impliedKey !== undefined) {
      key = impliedKey;
      [value, position] = takeValue(text, position);
    } else {
      position = end;
      const word = key;
      value = "on";
      if (word === "help" || word === "?") help = true;
      else {
        if (word.startsWith("no")) {
          key = word.slice(2);
          value = "off";
        }
        const advice = key === "delay"
          ? `nodelay=${value === "off" ? "on" : "off"}`
          : `${key}=${value}`;
        warnings.push(
          `${where}warning: short-form boolean option '${word}' deprecated\nPlease use ${advice} instead`,
        );
      }
    }
    first = false;
    if (text[position] === ",") position++;
    if (key === "id" && !isIdentifier(value)) {
      throw new OptionError(`${where}Parameter 'id' expects an identifier`, identifierHint);
    }
    pairs.push({ key, value });
  }
  return { pairs, warnings, help };
}

/** The longest part of a dotted key. */
const longestKeyPart = 127;

type Branch = Map<string, string | Branch>;

/** Splits a dotted key and checks its parts. */
function keyParts(key: string, where: string): readonly string[] {
  const parts = key.split(".");
  for (const [index, part] of parts.entries()) {
    const valid = index > 0 && /^[0-9]+$/.test(part)
      ? part.length <= 10
      : /^(?:__[a-zA-Z0-9.-]+_)?[a-zA-Z][a-zA-Z0-9_-]*$/.test(part) &&
        part.length <= longestKeyPart;
    if (!valid) throw new OptionError(`${where}Invalid parameter '${key}'`);
  }
  return parts;
}

/** Puts one value into the tree. */
function plant(root: Branch, key: string, value: string, where: string): void {
  const parts = keyParts(key, where);
  let branch = root;
  for (const [index, part] of parts.entries()) {
    const there = branch.get(part);
    const last = index === parts.length - 1;
    if (there !== undefined && (typeof there === "string") !== last) {
      const stem = parts.slice(0, index + 1).join(".");
      throw new OptionError(`${where}Parameters '${stem}.*' used inconsistently`);
    }
    if (last) {
      branch.set(part, value);
    } else if (there === undefined || typeof there === "string") {
      const next: Branch = new Map();
      branch.set(part, next);
      branch = next;
    } else {
      branch = there;
    }
  }
}

/** A branch whose keys are all numbers is a list; all others are objects. */
function harvest(branch: Branch, stem: string, where: string): Tree {
  const keys = [...branch.keys()];
  const numbers = keys.filter((key) => /^[0-9]+$/.test(key));
  if (numbers.length > 0 && stem !== "") {
    if (numbers.length < keys.length) {
      throw new OptionError(`${where}Parameters '${stem}.*' used inconsistently`);
    }
    const items: Tree[] = [];
    for (let index = 0; index < keys.length; index++) {
      const item = branch.get(String(index));
      if (item === undefined) {
        throw new OptionError(`${where}Parameter '${stem}.${index}' missing`);
      }
      items.push(typeof item === "string" ? item : harvest(item, `${stem}.${index}`, where));
    }
    return items;
  }
  const object: Record<string, Tree> = {};
  for (const [key, item] of branch) {
    const path = stem === "" ? key : `${stem}.${key}`;
    object[key] = typeof item === "string" ? item : harvest(item, path, where);
  }
  return object;
}

/** What a key-value tree said beside its values. */
export interface KeyValues {
  readonly tree: TreeObject;
  /** `help` or `?` was one of its words. */
  readonly help: boolean;
}

/**
 * Reads a key-value tree. `impliedKey` is the key of a first part that has none; `where` (such as
 * `-M microvm,acpi: `, or empty) stands before errors.
 */
export function parseKeyValues(
  text: string,
  where: string,
  impliedKey: string | undefined,
): KeyValues {
  const root: Branch = new Map();
  let help = false;
  let position = 0;
  let first = true;
  while (position < text.length) {
    const end = keyEnd(text, position);
    let key = text.slice(position, end);
    let value: string;
    if (text[end] === "=") {
      [value, position] = takeValue(text, end + 1);
    } else if (key === "help" || key === "?") {
      help = true;
      position = end + 1;
      first = false;
      continue;
    } else if (first && impliedKey !== undefined && key !== "") {
      value = key;
      key = impliedKey;
      position = end;
    } else if (key === "") {
      throw new OptionError(`${where}Invalid parameter ''`);
    } else {
      throw new OptionError(`${where}Expected '=' after parameter '${key}'`);
    }
    first = false;
    if (text[position] === ",") position++;
    plant(root, key, value, where);
  }
  const tree = harvest(root, "", where);
  if (!isObject(tree)) throw new TypeError("a key-value tree's root is an object");
  return { tree, help };
}

/** Whether a part of a tree has members. */
export function isObject(tree: Tree | undefined): tree is TreeObject {
  return typeof tree === "object" && tree !== null && !Array.isArray(tree);
}

/** Whether a part of a tree is a list. */
export function isList(tree: Tree | undefined): tree is readonly Tree[] {
  return Array.isArray(tree);
}

/**
 * `later` laid over `earlier`, member by member: what giving an option twice means. `prefix` stands before
 * members' names in complaints.
 */
export function mergeTrees(
  earlier: TreeObject,
  later: TreeObject,
  where: string,
  prefix = "",
): TreeObject {
  const merged: JsonObject = { ...earlier };
  for (const [key, value] of Object.entries(later)) {
    const before = merged[key];
    if (value === undefined) continue;
    if (before !== undefined && (typeof before === "object") !== (typeof value === "object")) {
      throw new OptionError(`${where}Parameters '${prefix}${key}.*' used inconsistently`);
    }
    merged[key] = isObject(before) && isObject(value)
      ? mergeTrees(before, value, where, `${prefix}${key}.`)
      : value;
  }
  return merged;
}
