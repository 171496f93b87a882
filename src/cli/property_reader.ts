/** Reads the values of declared properties, with QEMU's words for what is wrong. */
import { OptionError } from "../configuration/errors.ts";
import type {
  IntegerType,
  PropertiesOf,
  Property,
  PropertyTable,
  PropertyType,
} from "../configuration/property.ts";
import { isList, isObject, type Tree, type TreeObject } from "./syntax.ts";
import { parseBoolean, parseInteger, parseSize } from "../configuration/values.ts";

/** Limits of the integer types. */
const integerRanges = {
  uint8: [0, 0xff],
  uint16: [0, 0xffff],
  uint32: [0, 0xffffffff],
  uint64: [0, Number.MAX_SAFE_INTEGER],
  int32: [-0x80000000, 0x7fffffff],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
} as const satisfies Record<IntegerType, readonly [number, number]>;

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
  /** The option that gave a property, before what only molt refuses, if `where` is empty. */
  readonly option?: (name: string) => string;
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
      `${source.where || (source.option?.(name) ?? "")}'${name}=${
        display(value)
      }' is not available: ` +
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
