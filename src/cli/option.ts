/** What an option is, and how the arguments of options are read. */
import { InformationRequest } from "./information.ts";
import { OptionError } from "../configuration/errors.ts";
import { parseJsonObject } from "./json.ts";
import {
  describeProperties,
  type PropertiesOf,
  type PropertyTable,
} from "../configuration/property.ts";
import { readProperties } from "./property_reader.ts";
import { parseKeyValues, parseOptionList, type Tree, type TreeObject } from "./syntax.ts";

/** One place on the command line where an option stands. */
export interface Occurrence {
  /** The option's argument; empty if it takes none. */
  readonly argument: string;
  /** The option as typed with its argument, before a complaint: `-m 1x: `. */
  readonly where: string;
  /** Warns the user of something that does not stop the machine. */
  readonly warn: (text: string) => void;
}

/** One option of the command line. */
export interface Option {
  /** Its name without dashes, and other spellings. */
  readonly names: readonly [string, ...string[]];
  /** Its argument as help shows it. Absent: it takes none. */
  readonly argument?: string;
  /** Lines of help. */
  readonly help: readonly string[];
  /** Follows it. Called in the order of the command line. */
  readonly apply: (occurrence: Occurrence) => void;
}

/** Options of one subject, and what they have said so far. */
export interface OptionGroup {
  /** Heads their help. */
  readonly title: string;
  readonly options: readonly Option[];
}

/** Whether an argument is written in JSON. */
export function isJson(argument: string): boolean {
  return argument.startsWith("{");
}

/** The members of an option list: of a key given twice, the last. */
export function readList(
  { argument, where, warn }: Occurrence,
  impliedKey?: string,
): { readonly values: Readonly<Record<string, string>>; readonly help: boolean } {
  const list = parseOptionList(argument, where, impliedKey);
  for (const warning of list.warnings) warn(warning);
  // Without a prototype, so that no key means anything but itself.
  const values: Record<string, string> = Object.create(null);
  for (const { key, value } of list.pairs) values[key] = value;
  return { values, help: list.help };
}

/** What `-OPTION help` prints: the properties it takes. */
function propertyHelp(title: string, table: PropertyTable): string {
  return `${title} options:\n${describeProperties(table)}`;
}

/** Reads an option list whose members are declared in `table`. `title` heads its help. */
export function readCheckedList<Table extends PropertyTable>(
  table: Table,
  occurrence: Occurrence,
  { title, impliedKey }: { readonly title: string; readonly impliedKey?: string },
): PropertiesOf<Table> {
  const { values, help } = readList(occurrence, impliedKey);
  if (help) throw new InformationRequest(propertyHelp(title, table), 1);
  return readProperties(table, { dialect: "options", where: occurrence.where }, values);
}

/** Reads a key-value tree; `help` in it asks for the properties of `table`. */
export function readTree(
  table: PropertyTable,
  { argument, where }: Occurrence,
  { title, impliedKey }: { readonly title: string; readonly impliedKey?: string },
): TreeObject {
  const { tree, help } = parseKeyValues(argument, where, impliedKey);
  if (help) throw new InformationRequest(propertyHelp(title, table));
  return tree;
}

/** Reads JSON or a key-value tree: the values and how to speak of them. */
export function readJsonOrTree(
  { argument, where }: Occurrence,
  impliedKey: string,
): { readonly values: TreeObject; readonly dialect: "json" | "keyval"; readonly help: boolean } {
  if (isJson(argument)) {
    return { values: parseJsonObject(argument, where), dialect: "json", help: false };
  }
  const { tree, help } = parseKeyValues(argument, where, impliedKey);
  return { values: tree, dialect: "keyval", help };
}

/** The text of a required member that decides what the others are; `prefix` stands before its name. */
export function discriminator(
  values: TreeObject,
  key: string,
  where: string,
  prefix = "",
): string {
  const value: Tree | undefined = values[key];
  if (value === undefined) {
    throw new OptionError(`${where}Parameter '${prefix}${key}' is missing`);
  }
  if (typeof value !== "string") {
    throw new OptionError(`${where}Invalid parameter type for '${prefix}${key}', expected: string`);
  }
  return value;
}

/** `object` without the members `keys`. */
export function without(object: TreeObject, ...keys: readonly string[]): TreeObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}

/** An option that QEMU has and molt has not: any use is an error that says what to do instead. */
export function refusedOption(
  names: readonly [string, ...string[]],
  argument: string | undefined,
  reason: string,
): Option {
  return {
    names,
    ...(argument === undefined ? {} : { argument }),
    help: [],
    apply: ({ where }) => {
      throw new OptionError(`${where}not available: ${reason}`);
    },
  };
}
