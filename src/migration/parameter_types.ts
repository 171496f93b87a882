/**
 * The types that migration parameters have, each read from JSON (QMP), from a line of text (the human
 * monitor) and from -global. The texts of errors are QEMU's.
 */
import { parseBoolean, parseInteger, parseSize } from "../configuration/values.ts";
import { MigrationError } from "./errors.ts";

/** The shape of a type's values in QMP's schema. */
export type ParameterSchema = "int" | "bool" | "StrOrNull" | "any" | readonly string[];

/** A type of parameters. The functions throw a MigrationError that names the parameter `name`. */
export interface ParameterType<Value> {
  readonly schema: ParameterSchema;
  /** A value of QMP. */
  read(name: string, value: unknown): Value;
  /** What a person typed. */
  parse(name: string, text: string): Value;
  /** What -global was given. */
  parseProperty(name: string, text: string): Value;
  /** The value for a person. */
  show(value: Value): string;
}

const limit64 = 1n << 64n;

/** An integer of QMP as QEMU takes it for an unsigned one: negative ones wrap around. */
function readUnsigned(name: string, value: unknown): bigint {
  const whole = typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value))
    ? BigInt(value)
    : undefined;
  if (whole === undefined || whole >= limit64 || whole < -(limit64 >> 1n)) {
    throw new MigrationError(`Parameter '${name}' expects uint64`);
  }
  return BigInt.asUintN(64, whole);
}

function parseUnsigned(name: string, text: string): bigint {
  return readUnsigned(name, parseInteger(text));
}

function parseBytes(name: string, text: string): number {
  const size = parseSize(text);
  switch (size.kind) {
    case "size":
      return size.bytes;
    case "out of range":
      throw new MigrationError(`Value '${text}' is out of range for parameter '${name}'`);
    case "invalid":
      throw new MigrationError(
        `Parameter '${name}' expects a non-negative number below 2^64\n` +
          "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n" +
          "and exabytes, respectively.",
      );
  }
}

function narrow(bits: 8 | 32): ParameterType<number> {
  const check = (name: string, value: bigint) => {
    if (value >> BigInt(bits) !== 0n) {
      throw new MigrationError(`Parameter '${name}' expects uint${bits}_t`);
    }
    return Number(value);
  };
  return {
    schema: "int",
    read: (name, value) => check(name, readUnsigned(name, value)),
    parse: (name, text) => check(name, parseUnsigned(name, text)),
    parseProperty: (name, text) => check(name, parseUnsigned(name, text)),
    show: String,
  };
}

export const uint8 = narrow(8);
export const uint32 = narrow(32);

/**
 * A 64-bit integer whose range is far smaller, so that a number holds all values that are allowed.
 * A person may write it with a size suffix.
 */
export const uint64: ParameterType<number> = {
  schema: "int",
  read: (name, value) => Number(readUnsigned(name, value)),
  parse: parseBytes,
  parseProperty: (name, text) => Number(parseUnsigned(name, text)),
  show: String,
};

/** As {@linkcode uint64}, and -global takes size suffixes too. */
export const size: ParameterType<number> = { ...uint64, parseProperty: parseBytes };

/** A 64-bit integer that may have any value: a bigint where a number would not be exact. */
export const wideSize: ParameterType<number | bigint> = {
  schema: "int",
  read: (name, value) => {
    const wide = readUnsigned(name, value);
    return wide > BigInt(Number.MAX_SAFE_INTEGER) ? wide : Number(wide);
  },
  parse: parseBytes,
  parseProperty: parseBytes,
  show: String,
};

/** As {@linkcode wideSize}; what a person writes without a suffix is MiB. */
export const bandwidth: ParameterType<number | bigint> = {
  ...wideSize,
  parse: (_name, text) => {
    const result = parseSize(text, "M");
    if (result.kind !== "size") throw new MigrationError(`Invalid size ${text}`);
    return result.bytes;
  },
};

function parseSwitch(name: string, text: string): boolean {
  const value = parseBoolean(text);
  if (value === undefined) throw new MigrationError(`Parameter '${name}' expects 'on' or 'off'`);
  return value;
}

export const boolean: ParameterType<boolean> = {
  schema: "bool",
  read: (name, value) => {
    if (typeof value !== "boolean") throw wrongType(name, "boolean");
    return value;
  },
  parse: parseSwitch,
  parseProperty: parseSwitch,
  show: (value) => value ? "on" : "off",
};

/** One of `values`. */
export function enumeration<const Value extends string>(
  values: readonly Value[],
): ParameterType<Value> {
  const parse = (name: string, text: string) => {
    const found = values.find((value) => value === text);
    if (found === undefined) {
      throw new MigrationError(`Parameter '${name}' does not accept value '${text}'`);
    }
    return found;
  };
  return {
    schema: values,
    read: (name, value) => {
      if (typeof value !== "string") throw wrongType(name, "string");
      return parse(name, value);
    },
    parse,
    parseProperty: parse,
    show: (value) => value,
  };
}

/** Text; null and the empty text mean that there is none. */
export const optionalText: ParameterType<string> = {
  schema: "StrOrNull",
  read: (name, value) => {
    if (value === null) return "";
    if (typeof value !== "string") throw wrongType(name, "StrOrNull");
    return value;
  },
  parse: (_name, text) => text,
  parseProperty: (_name, text) => text,
  show: (value) => `'${value}'`,
};

/** A program and its arguments. A person writes them as for a shell. */
export const command: ParameterType<readonly string[]> = {
  schema: "any",
  read: (name, value) => {
    if (!Array.isArray(value)) throw wrongType(name, "array");
    return value.map((word: unknown, index) => {
      if (typeof word !== "string") throw wrongType(`${name}[${index}]`, "string");
      return word;
    });
  },
  parse: (_name, text) => splitCommand(text),
  parseProperty: (name) => {
    throw new MigrationError(`Property 'migration.${name}' not found`);
  },
  show: (value) => value.map(quoteWord).join(" "),
};

/** The names by which dirty bitmaps would travel. There are none, so that only an empty list fits. */
export const bitmapMapping: ParameterType<readonly never[] | undefined> = {
  schema: "any",
  read: (name, value) => {
    if (!Array.isArray(value)) throw wrongType(name, "array");
    if (value.length === 0) return [];
    if (typeof value[0] !== "object" || value[0] === null || Array.isArray(value[0])) {
      throw wrongType(`${name}[0]`, "object");
    }
    throw new MigrationError(
      `Invalid mapping given for ${name}: dirty bitmaps are not supported`,
    );
  },
  parse: (name) => {
    throw new MigrationError(`The ${name} parameter can only be set through QMP`);
  },
  parseProperty: (name) => {
    throw new MigrationError(`Property 'migration.${name}' not found`);
  },
  show: () => "",
};

function wrongType(name: string, expected: string): MigrationError {
  return new MigrationError(`Invalid parameter type for '${name}', expected: ${expected}`);
}

/** Splits a command at white space; quotes and backslashes as in a POSIX shell. */
export function splitCommand(text: string): string[] {
  const words: string[] = [];
  const word = /(?:[^\s'"\\]|\\[^]|'[^']*'|"(?:[^"\\]|\\[^])*")+/y;
  for (let at = 0;;) {
    while (/\s/.test(text[at] ?? "")) at++;
    if (at >= text.length) break;
    word.lastIndex = at;
    const found = word.exec(text)?.[0];
    const rest = text.slice(at + (found?.length ?? 0));
    if (found === undefined || /^['"\\]/.test(rest)) {
      throw new MigrationError(
        rest[0] === "\\"
          ? `Text ended just after a “\\” character. (The text was “${text}”)`
          : `Text ended before matching quote was found for ${rest[0]}. (The text was “${text}”)`,
      );
    }
    words.push(unquote(found));
    at += found.length;
  }
  return words;
}

function unquote(word: string): string {
  return word.replaceAll(
    /'([^']*)'|"((?:[^"\\]|\\[^])*)"|\\([^])/g,
    (_, single?: string, double?: string, escaped?: string) =>
      single ?? double?.replaceAll(/\\(["\\$`])/g, "$1") ?? escaped ?? "",
  );
}

function quoteWord(word: string): string {
  if (word !== "" && !/[\s'"\\]/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
