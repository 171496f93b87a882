/**
 * Properties of options, objects and devices, declared as data: one declaration gives the check, the
 * TypeScript type of what comes out, and the help text.
 *
 *     const properties = { size: required(size("Bytes")), share: defaulting(boolean("..."), false) };
 *     readProperties(properties, "visitor", source, where); // { size: number, share: boolean }
 */
import { OptionError } from "./errors.ts";
import { isIdentifier, parseBoolean, parseInteger, parseSize } from "./values.ts";
import { identifierHint, isObject, type Tree } from "./syntax.ts";

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
      return wide === "uint64" ? wide : "integer";
  }
}

function expects(where: string, name: string, what: string, hint?: string): never {
  throw new OptionError(`${where}Parameter '${name}' expects ${what}`, hint);
}

function wrongType(where: string, name: string, what: string): never {
  throw new OptionError(`${where}Invalid parameter type for '${name}', expected: ${what}`);
}

function readInteger(
  kind: IntegerType,
  value: Tree,
  name: string,
  dialect: Dialect,
  where: string,
): number {
  const number = typeof value === "string" && dialect !== "json"
    ? parseInteger(value)
    : typeof value === "number" && Number.isInteger(value) || typeof value === "bigint"
    ? BigInt(value)
    : undefined;
  if (number === undefined) return expects(where, name, integerName(dialect, kind));
  const [low, high] = integerRanges[kind];
  if (number >= BigInt(low) && number <= BigInt(high)) return Number(number);
  if (dialect === "options") {
    throw new OptionError(`${where}Value '${value}' is too large for parameter '${name}'`);
  }
  return expects(where, name, kind.endsWith("64") ? integerName(dialect, kind) : `${kind}_t`);
}

const sizeHint =
  "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.";

function readSize(value: Tree, name: string, dialect: Dialect, where: string): number {
  if (dialect === "json") return readInteger("uint64", value, name, dialect, where);
  const result = parseSize(String(value));
  if (result.kind === "size") return result.bytes;
  if (dialect !== "options") {
    return expects(where, name, dialect === "visitor" ? "a size value" : "size");
  }
  if (result.kind === "out of range") {
    throw new OptionError(`${where}Value '${value}' is out of range for parameter '${name}'`);
  }
  return expects(where, name, "a non-negative number below 2^64", sizeHint);
}

function readBoolean(value: Tree, name: string, dialect: Dialect, where: string): boolean {
  if (dialect === "json") {
    return typeof value === "boolean" ? value : wrongType(where, name, "boolean");
  }
  const flag = typeof value === "string" ? parseBoolean(value) : undefined;
  return flag ?? expects(where, name, "'on' or 'off'");
}

/** Reads one value. `name` is its full dotted name. */
export function readProperty<Value>(
  property: Property<Value, boolean>,
  value: Tree,
  name: string,
  dialect: Dialect,
  where: string,
): Value {
  const result = readAny(property.type, value, name, dialect, where);
  if (property.limit !== undefined && !property.limit.accepted.includes(result)) {
    throw new OptionError(
      `${where}Parameter '${name}' does not accept value '${value}' in molt: ${property.limit.instead}`,
    );
  }
  // The constructors above pair each type with what readAny gives for it.
  return result as Value;
}

function readAny(
  type: PropertyType,
  value: Tree,
  name: string,
  dialect: Dialect,
  where: string,
): unknown {
  if (type.kind === "tree") return value;
  if (type.kind === "record") {
    if (!isObject(value)) return wrongType(where, name, "object");
    return readProperties(type.properties, dialect, value, where, `${name}.`);
  }
  if (type.kind === "list") {
    if (!Array.isArray(value)) return wrongType(where, name, "array");
    return value.map((item, index) =>
      readProperty(type.item, item, `${name}[${index}]`, dialect, where)
    );
  }
  if (typeof value === "object" && value !== null) {
    const expected = type.kind === "integer" || type.kind === "size" ? "integer" : type.kind;
    return wrongType(where, name, expected === "boolean" ? expected : "string");
  }
  switch (type.kind) {
    case "boolean":
      return readBoolean(value, name, dialect, where);
    case "integer":
      return readInteger(type.integer, value, name, dialect, where);
    case "size":
      return readSize(value, name, dialect, where);
  }
  if (typeof value !== "string") return wrongType(where, name, "string");
  if (type.kind === "identifier" && !isIdentifier(value)) {
    expects(where, name, "an identifier", identifierHint);
  }
  if (type.kind === "choice" && !type.values.includes(value)) {
    throw new OptionError(`${where}Parameter '${name}' does not accept value '${value}'`);
  }
  return value;
}

/** What QEMU says of a name that is not in the table. */
function unknownProperty(name: string, dialect: Dialect, where: string): never {
  throw new OptionError(
    dialect === "options" || dialect === "visitor"
      ? `${where}Invalid parameter '${name}'`
      : `${where}Parameter '${name}' is unexpected`,
  );
}

/**
 * Reads the members of `source` by their declarations. `where` (`-object ...: `, or empty) stands before
 * errors, `prefix` (`boot.`) before names.
 */
export function readProperties<Table extends PropertyTable>(
  table: Table,
  dialect: Dialect,
  source: { readonly [name: string]: Tree },
  where: string,
  prefix = "",
): PropertiesOf<Table> {
  const result: Record<string, unknown> = {};
  const unknown = Object.keys(source).find((name) => !Object.hasOwn(table, name));
  if (dialect === "options" && unknown !== undefined) unknownProperty(unknown, dialect, where);
  for (const [name, property] of Object.entries(table)) {
    const value = Object.hasOwn(source, name) ? source[name] : undefined;
    if (value !== undefined) {
      result[name] = readProperty(property, value, prefix + name, dialect, where);
    } else if (property.fallback !== undefined) {
      result[name] = property.fallback;
    } else if (property.always) {
      throw new OptionError(`${where}Parameter '${prefix}${name}' is missing`);
    }
  }
  if (unknown !== undefined) unknownProperty(prefix + unknown, dialect, where);
  // Built from the table, member by member.
  return result as PropertiesOf<Table>;
}
