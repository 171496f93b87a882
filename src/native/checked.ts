/**
 * Every argument of the C library's functions is checked against the type that the table of symbols gives
 * it. The runtime's own check has no words for users (`Invalid FFI i32 type`), and it cuts a bigint of
 * more than 64 bits to its lower ones in silence.
 *
 *   a number that the type cannot hold   -> the function is not called; its result is the errno EOVERFLOW,
 *                                           or EINVAL for what is no whole number, as a system call's would be
 *   the same, and the result is no errno -> ArgumentRangeError
 *   anything but a number                -> TypeError: the types here exclude it
 *
 * So who calls with a number from a client or an option has one way in which the call fails: `unwrap`
 * says what could not be done.
 */
import { Errno } from "./errors.ts";

/** A parameter of a function of the C library, and its result. */
export interface Signature {
  readonly parameters: readonly string[];
  readonly result: string;
  readonly nonblocking?: boolean;
}

/** A function of the C library got a number that its parameter cannot hold, and was not called. */
export class ArgumentRangeError extends Error {
  override readonly name = "ArgumentRangeError";

  /** `parameter` counts from 0. */
  constructor(name: string, parameter: number, kind: string, value: number | bigint) {
    super(`${value} does not fit the ${kind} that parameter ${parameter} of ${name} is`);
  }
}

/** True if a parameter of type `kind` (`i32`, `u32`, `i64`, `u64`, `buffer`) can hold `value`. */
export function holds(kind: string, value: unknown): boolean {
  switch (kind) {
    case "i32":
      return typeof value === "number" && (value | 0) === value;
    case "u32":
      return typeof value === "number" && (value >>> 0) === value;
    case "i64":
      return typeof value === "bigint"
        ? BigInt.asIntN(64, value) === value
        : Number.isSafeInteger(value);
    case "u64":
      return typeof value === "bigint"
        ? BigInt.asUintN(64, value) === value
        : Number.isSafeInteger(value) && Number(value) >= 0;
    case "buffer":
      return true;
    default:
      throw new Error(`The table of symbols has a parameter of type ${kind}`);
  }
}

/** The same as {@linkcode holds}, as the text of an expression on the variable `name`. */
function condition(kind: string, name: string): string {
  switch (kind) {
    case "i32":
      return `(${name} | 0) === ${name}`;
    case "u32":
      return `(${name} >>> 0) === ${name}`;
    case "i64":
    case "u64": {
      const cut = kind === "i64" ? "asIntN" : "asUintN";
      return `(typeof ${name} === "bigint" && BigInt.${cut}(64, ${name}) === ${name} || ` +
        `holds("${kind}", ${name}))`;
    }
    default:
      return "true";
  }
}

/** The result of a function that was not called because of its arguments. Throws if that is no errno. */
export function refuseArguments(
  name: string,
  { parameters, result, nonblocking }: Signature,
  values: readonly unknown[],
): number | bigint {
  const index = parameters.findIndex((kind, i) => !holds(kind, values[i]));
  const kind = parameters[index] ?? "";
  const value = values[index];
  if (typeof value !== "number" && typeof value !== "bigint") {
    throw new TypeError(`parameter ${index} of ${name} is ${typeof value}, and has to be ${kind}`);
  }
  if (nonblocking || (result !== "i32" && result !== "i64")) {
    throw new ArgumentRangeError(name, index, kind, value);
  }
  const errno = typeof value === "bigint" || Number.isInteger(value)
    ? Errno.EOVERFLOW
    : Errno.EINVAL;
  return result === "i64" ? BigInt(-errno) : -errno;
}

/**
 * The functions that `signatures` describe, with their arguments checked. `bind` gives the one of a name
 * when it is called for the first time; what it throws is that call's error, and the next call binds again.
 *
 * The wrappers are compiled from text, one for each function: a function that serves them all would have
 * the engine take a call for one that it cannot know, which costs ten times as much as a call.
 */
export function checked<Functions extends object>(
  bind: <Name extends keyof Functions>(name: Name) => Functions[Name],
  signatures: Readonly<Record<keyof Functions & string, Signature>>,
): Functions {
  const entries = Object.entries<Signature>(signatures);
  const wrappers = entries.map(([name, { parameters }]) => {
    const names = parameters.map((_, i) => `v${i}`).join(", ");
    const test = parameters.flatMap((kind, i) => kind === "buffer" ? [] : condition(kind, `v${i}`))
      .join(" && ");
    const call = `(f_${name} ??= bind("${name}"))(${names})`;
    if (test === "") return `  ${name}: (${names}) => ${call},`;
    return `  ${name}: (${names}) => ${test}\n` +
      `    ? ${call}\n` +
      `    : refuse("${name}", signatures.${name}, [${names}]),`;
  });
  const variables = entries.map(([name]) => `let f_${name};`);
  const text = `"use strict";\n${variables.join("\n")}\nreturn {\n${wrappers.join("\n")}\n};`;
  const make = new Function("bind", "signatures", "refuse", "holds", text);
  return make(bind, signatures, refuseArguments, holds);
}
