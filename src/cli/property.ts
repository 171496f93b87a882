/**
 * Properties of options, objects and devices, declared as data: one declaration gives the check, the
 * TypeScript type of what comes out, and the help text.
 *
 *     const properties = { size: required(size("Bytes")), share: defaulting(boolean("..."), false) };
 *     readProperties(properties, "visitor", source, where); // { size: number, share: boolean }
 */
import { OptionError } from "./errors.ts";
import { isIdentifier, parseBoolean, parseInteger, parseSize } from "./values.ts";
import { identifierHint, isList, isObject, type Tree, type TreeObject } from "./syntax.ts";

/** Limits of the integer types. 64-bit values are held to what a number holds exactly. */
const integerRanges = {
  uint8: [0, 0xff],
  uint16: [0, 0xffff],
  uint32: [0, 0xffffffff],
  uint64: [0, Number.MAX_SAFE_INTEGER],
  int32: [-0x80000000, 0x7fffffff],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
} as const;
export type IntegerType = keyof typeof integerRanges;

/** What values a property takes. */
export type PropertyType =
  | { readonly kind: "string" }
  | { readonly kind: "identifier" }
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

/** An `id`, or a reference to one. */
export function identifier(help = ""): Property<string, false> {
  return { type: { kind: "identifier" }, help, always: false };
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
export function tree(help = ""): Property<Tree, false> {
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

/**
 * Where values come from, which decides how QEMU words its complaints:
 * `options` a checked option list, `visitor` an option list read as an object, `keyval` a key-value tree,
 * `string` single property texts, `json` JSON.
 */
export type Dialect = "options" | "visitor" | "keyval" | "string" | "json";

/** What values are read from, for messages. */
export interface Source {
  readonly dialect: Dialect;
  /** Stands before every complaint: `-object ram,id=a: `, or empty where QEMU names no option. */
  readonly where: string;
  /** The class whose properties they are, if QEMU names it: `microvm-machine`. */
  readonly owner?: string;
  /** Stands before what only molt refuses, if `where` is empty. */
  readonly option?: string;
}

/** What an integer is called in a complaint. */
function integerName(dialect: Dialect, integer: IntegerType): string {
  const wide = integer.startsWith("u") ? "uint64" : "int64";
  switch (dialect) {
    case "options":
      return "a number";
    case "visitor":
      return wide === "uint64" ? "a uint64 value" : "an int64 value";
    case "keyval":
      return "integer";
    case "string":
      return wide;
    case "json":
      return wide;
  }
}

function expects(source: Source, name: string, what: string, hint?: string): never {
  throw new OptionError(`${source.where}Parameter '${name}' expects ${what}`, hint);
}

function wrongType(source: Source, name: string, what: string): never {
  throw new OptionError(`${source.where}Invalid parameter type for '${name}', expected: ${what}`);
}

/** A value as a user would write it. */
function display(value: Tree): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  return typeof value === "object" && value !== null ? "..." : String(value);
}

function readInteger(type: IntegerType, value: Tree, name: string, source: Source): number {
  const number = typeof value === "string" && source.dialect !== "json"
    ? parseInteger(value)
    : typeof value === "number" && Number.isInteger(value) || typeof value === "bigint"
    ? BigInt(value)
    : undefined;
  if (number === undefined) {
    if (source.dialect === "json" && !type.startsWith("u")) {
      return wrongType(source, name, "integer");
    }
    return expects(source, name, integerName(source.dialect, type));
  }
  const [low, high] = integerRanges[type];
  if (number >= BigInt(low) && number <= BigInt(high)) return Number(number);
  if (source.dialect === "options") {
    throw new OptionError(
      `${source.where}Value '${display(value)}' is too large for parameter '${name}'`,
    );
  }
  const wide = type.endsWith("64");
  return expects(source, name, wide ? integerName(source.dialect, type) : `${type}_t`);
}

const sizeHint =
  "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.";

/** Reads a size; `unit` is the suffix of a text without one. */
export function readSize(value: Tree, name: string, source: Source, unit: "B" | "M" = "B"): number {
  if (source.dialect === "json") return readInteger("uint64", value, name, source);
  const result = parseSize(String(value), unit);
  if (result.kind === "size") return result.bytes;
  if (source.dialect !== "options") {
    return expects(source, name, source.dialect === "visitor" ? "a size value" : "size");
  }
  if (result.kind === "out of range") {
    throw new OptionError(
      `${source.where}Value '${display(value)}' is out of range for parameter '${name}'`,
    );
  }
  return expects(source, name, "a non-negative number below 2^64", sizeHint);
}

function readBoolean(value: Tree, name: string, source: Source): boolean {
  if (source.dialect === "json") {
    return typeof value === "boolean" ? value : wrongType(source, name, "boolean");
  }
  const flag = typeof value === "string" ? parseBoolean(value) : undefined;
  return flag ?? expects(source, name, "'on' or 'off'");
}

/** Reads one value. `name` is its full dotted name. */
export function readProperty<Value>(
  property: Property<Value>,
  value: Tree,
  name: string,
  source: Source,
): Value {
  const result = readValue(property.type, value, name, source);
  if (property.limit !== undefined && !property.limit.accepted.includes(result)) {
    throw new OptionError(
      `${source.where || source.option || ""}'${name}=${display(value)}' is not available: ` +
        property.limit.instead,
    );
  }
  // The constructors above pair each type with what readValue gives for it.
  return result as Value;
}

function readValue(type: PropertyType, value: Tree, name: string, source: Source): unknown {
  if (type.kind === "tree") return value;
  if (type.kind === "record") {
    if (!isObject(value)) return wrongType(source, name, "object");
    return readProperties(type.properties, source, value, `${name}.`);
  }
  if (type.kind === "list") {
    if (!isList(value)) return wrongType(source, name, "array");
    return value.map((item, index) => readProperty(type.item, item, `${name}[${index}]`, source));
  }
  switch (type.kind) {
    case "boolean":
      return readBoolean(value, name, source);
    case "integer":
      return readInteger(type.integer, value, name, source);
    case "size":
      return readSize(value, name, source);
  }
  if (typeof value !== "string") return wrongType(source, name, "string");
  if (type.kind === "identifier" && !isIdentifier(value)) {
    return expects(source, name, "an identifier", identifierHint);
  }
  if (type.kind === "choice" && !type.values.includes(value)) {
    // QEMU names the last part only.
    const last = name.slice(name.lastIndexOf(".") + 1);
    throw new OptionError(`${source.where}Parameter '${last}' does not accept value '${value}'`);
  }
  return value;
}

/** What QEMU says of a name that is not in the table. */
function unknownProperty(name: string, prefix: string, { dialect, where, owner }: Source): never {
  if (owner !== undefined && prefix === "") {
    throw new OptionError(`${where}Property '${owner}.${name}' not found`);
  }
  throw new OptionError(
    dialect === "options" || dialect === "visitor"
      ? `${where}Invalid parameter '${prefix}${name}'`
      : `${where}Parameter '${prefix}${name}' is unexpected`,
  );
}

/** Reads the members of `values` by their declarations. `prefix` (`boot.`) stands before names. */
export function readProperties<Table extends PropertyTable>(
  table: Table,
  source: Source,
  values: TreeObject,
  prefix = "",
): PropertiesOf<Table> {
  const result: Record<string, unknown> = {};
  const unknown = Object.keys(values).find((name) => !Object.hasOwn(table, name));
  if (unknown !== undefined && (source.dialect === "options" || source.owner !== undefined)) {
    unknownProperty(unknown, prefix, source);
  }
  for (const [name, property] of Object.entries(table)) {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value !== undefined) {
      result[name] = readProperty(property, value, prefix + name, source);
    } else if (property.fallback !== undefined) {
      result[name] = property.fallback;
    } else if (property.always) {
      throw new OptionError(`${source.where}Parameter '${prefix}${name}' is missing`);
    }
  }
  if (unknown !== undefined) unknownProperty(unknown, prefix, source);
  // Built from the table, member by member.
  return result as PropertiesOf<Table>;
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
    case "identifier":
      return "string";
    case "record":
      return "object";
    default:
      return type.kind;
  }
}

/** One line for each property, as `-object TYPE,help` prints them. */
export function describeProperties(table: PropertyTable): string {
  return Object.keys(table).sort().map((name) => {
    const property = table[name];
    const head = `  ${name}=<${property === undefined ? "" : typeName(property.type)}>`;
    const fallback = property?.fallback;
    const given = fallback === undefined || typeof fallback === "object"
      ? ""
      : ` (default: ${typeof fallback === "boolean" ? (fallback ? "on" : "off") : fallback})`;
    const help = `${property?.help ?? ""}${given}`.trim();
    return help === "" ? head : `${head.padEnd(24)} - ${help}`;
  }).join("\n");
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
