/**
 * Properties of options, objects and devices, declared as data: one declaration gives the check, the
 * TypeScript type of what comes out, and the help text.
 *
 *     const properties = { size: required(size("Bytes")), share: defaulting(boolean("..."), false) };
 *
 * {@linkcode readProperties} of cli/property_reader.ts gives `{ size: number, share: boolean }` for it.
 */
import type { JsonValue } from "../json/value.ts";

/** Integer types; 64-bit values are held to what a number holds exactly. */
export type IntegerType = "uint8" | "uint16" | "uint32" | "uint64" | "int32" | "int64";

/** What values a property takes. */
export type PropertyType =
  | { readonly kind: "string" }
  | { readonly kind: "boolean" }
  | { readonly kind: "size" }
  | { readonly kind: "integer"; readonly integer: IntegerType }
  | { readonly kind: "choice"; readonly values: readonly string[] }
  | { readonly kind: "list"; readonly item: Property }
  | { readonly kind: "record"; readonly properties: PropertyTable }
  | { readonly kind: "tree" };

/** One property. `Value` is what reading it gives; `Always` whether it is there without being given. */
export interface Property<Value = unknown, Always extends boolean = boolean> {
  readonly type: PropertyType;
  readonly help: string;
  readonly always: Always;
  /** What it is when not given. Without one, an `always` property must be given. */
  readonly fallback?: Value;
  /** Set if molt offers only these values; `instead` is the advice to who gives another. */
  readonly limit?: { readonly accepted: readonly unknown[]; readonly instead: string };
}

/** Properties by name, in the order in which they are checked. */
export interface PropertyTable {
  readonly [name: string]: Property;
}

type AlwaysKeys<Table> = {
  [Key in keyof Table]: Table[Key] extends Property<infer _Value, true> ? Key : never;
}[keyof Table];

type ValueOf<Entry> = Entry extends Property<infer Value, boolean> ? Value : never;

/** What reading a table's properties gives. */
export type PropertiesOf<Table extends PropertyTable> =
  & { readonly [Key in AlwaysKeys<Table>]: ValueOf<Table[Key]> }
  & { readonly [Key in Exclude<keyof Table, AlwaysKeys<Table>>]?: ValueOf<Table[Key]> };

/** Any text. */
export function text(help = ""): Property<string, false> {
  return { type: { kind: "string" }, help, always: false };
}

export function boolean(help = ""): Property<boolean, false> {
  return { type: { kind: "boolean" }, help, always: false };
}

/** Bytes, with a suffix in text. */
export function size(help = ""): Property<number, false> {
  return { type: { kind: "size" }, help, always: false };
}

export function integer(type: IntegerType, help = ""): Property<number, false> {
  return { type: { kind: "integer", integer: type }, help, always: false };
}

/** One of some words. */
export function choice<const Word extends string>(
  values: readonly Word[],
  help = "",
): Property<Word, false> {
  return { type: { kind: "choice", values }, help, always: false };
}

/** `on`, `off`, or what the machine thinks best. */
export function onOffAuto(help = ""): Property<"on" | "off" | "auto", false> {
  return choice(["auto", "on", "off"], help);
}

/** Several values: a JSON array, `name.0=`, `name.1=`, or `name=` given repeatedly. */
export function list<Value>(
  item: Property<Value, boolean>,
  help = "",
): Property<readonly Value[], false> {
  return { type: { kind: "list", item }, help, always: false };
}

/** Members of its own: `name.member=`. */
export function record<Table extends PropertyTable>(
  properties: Table,
  help = "",
): Property<PropertiesOf<Table>, false> {
  return { type: { kind: "record", properties }, help, always: false };
}

/** Whatever is given, for a reader of its own. */
export function tree(help = ""): Property<JsonValue, false> {
  return { type: { kind: "tree" }, help, always: false };
}

/** The property must be given. */
export function required<Value>(property: Property<Value, false>): Property<Value, true> {
  return { ...property, always: true };
}

/** The property is `value` when it is not given. */
export function defaulting<Value>(
  property: Property<Value, false>,
  value: Value,
): Property<Value, true> {
  return { ...property, always: true, fallback: value };
}

/** QEMU has the property, molt has not; `instead` says what to do. */
export function refused(instead: string): Property<never, false> {
  return { type: { kind: "tree" }, help: "", always: false, limit: { accepted: [], instead } };
}

/** molt takes only the `accepted` values of the property; `instead` says what to do. */
export function limited<Value, Always extends boolean>(
  property: Property<Value, Always>,
  accepted: readonly Value[],
  instead: string,
): Property<Value, Always> {
  return { ...property, limit: { accepted, instead } };
}

/** `table` with other values for what is not given. */
export function withDefaults<Table extends PropertyTable>(
  table: Table,
  defaults: Readonly<Record<string, unknown>>,
): Table {
  const changed = Object.entries(table).map(([name, property]) => [
    name,
    Object.hasOwn(defaults, name)
      ? { ...property, always: true, fallback: defaults[name] }
      : property,
  ]);
  // The same names and types; only fallbacks differ.
  return Object.fromEntries(changed) as Table;
}

/** An object without the members that are undefined. */
export function given<Members extends object>(
  members: Members,
): { readonly [Key in keyof Members]?: Exclude<Members[Key], undefined> } {
  const result: Partial<Record<keyof Members, Members[keyof Members]>> = {};
  for (const key in members) if (members[key] !== undefined) result[key] = members[key];
  // Only members without a value are left out.
  return result as { [Key in keyof Members]?: Exclude<Members[Key], undefined> };
}

/** A type as help texts show it. */
function typeName(type: PropertyType): string {
  switch (type.kind) {
    case "boolean":
      return "bool";
    case "integer":
      return type.integer;
    case "choice":
      return type.values.join("|");
    case "record":
      return "object";
    default:
      return type.kind;
  }
}

/** One line for each property that may be given, as `-object TYPE,help` prints them. */
export function describeProperties(table: PropertyTable): string {
  return Object.entries(table)
    .filter(([, { limit }]) => limit === undefined || limit.accepted.length > 0)
    .toSorted(([a], [b]) => a < b ? -1 : 1)
    .map(([name, { type, fallback, help }]) => {
      const head = `  ${name}=<${typeName(type)}>`;
      const text = `${help}${describeFallback(fallback)}`.trim();
      return text === "" ? head : `${head.padEnd(24)} - ${text}`;
    }).join("\n");
}

function describeFallback(fallback: unknown): string {
  switch (typeof fallback) {
    case "boolean":
      return ` (default: ${fallback ? "on" : "off"})`;
    case "number":
    case "string":
      return ` (default: ${fallback})`;
    default:
      return "";
  }
}
