/**
 * C prototypes as data, and what Deno makes of them: one way to write a function of the C library down,
 * from which follow what is loaded, what TypeScript's compiler checks, and what a test compares with the
 * definitions in ffi/ (test/unit/native/symbols_test.ts).
 *
 *     molt_pread: ["int64_t", "int32_t fd", "void *buffer", "uint64_t length", "int64_t offset"],
 *
 * The result's type comes first, then each parameter as C declares it. A pointer is to bytes that
 * TypeScript owns for the call's duration; in `at(...)` it is an address that TypeScript carries around.
 */

/** A pointer that TypeScript has as a number. */
export interface Address {
  readonly at: string;
}

/** Declares a parameter that is an address. */
export function at(declaration: string): Address {
  return { at: declaration };
}

/** A parameter: its C type and name. */
export type Parameter = string | Address;

/** A function: the C type of its result, then its parameters. */
export type Prototype = readonly [result: string, ...parameters: readonly Parameter[]];

/** What Deno calls the integers of C. */
const integers = {
  int32_t: "i32",
  uint32_t: "u32",
  int64_t: "i64",
  uint64_t: "u64",
} as const;
type Integers = typeof integers;

type ResultOf<Type> = Type extends keyof Integers ? Integers[Type]
  : Type extends "void" ? "void"
  : never;

type KindOf<Declared> = Declared extends Address ? "u64"
  : Declared extends `${string}*${string}` ? "buffer"
  : Declared extends `${infer Type} ${string}`
    ? Type extends keyof Integers ? Integers[Type] : never
  : never;

type KindsOf<Declared extends readonly Parameter[]> = {
  readonly [Index in keyof Declared]: KindOf<Declared[Index]>;
};

/** A function as Deno.dlopen takes it. */
export type NativeFunction<Declared> = Declared extends
  readonly [infer Result, ...infer Parameters extends readonly Parameter[]]
  ? { readonly parameters: KindsOf<Parameters>; readonly result: ResultOf<Result> }
  : never;

/** Functions as Deno.dlopen takes them. */
export type NativeFunctions<Table> = {
  readonly [Name in keyof Table]: NativeFunction<Table[Name]>;
};

function integerOf(type: string): Integers[keyof Integers] {
  if (!Object.hasOwn(integers, type)) {
    throw new Error(`The table of symbols has the type '${type}'`);
  }
  return integers[type as keyof Integers];
}

function kindOf(parameter: Parameter): string {
  if (typeof parameter !== "string") return "u64";
  if (parameter.includes("*")) return "buffer";
  return integerOf(parameter.slice(0, parameter.indexOf(" ")));
}

/** What Deno.dlopen takes, of a table of prototypes. */
export function nativeFunctions<const Table extends Readonly<Record<string, Prototype>>>(
  table: Table,
): NativeFunctions<Table> {
  return Object.fromEntries(
    Object.entries(table).map(([name, [result, ...parameters]]) => [name, {
      parameters: parameters.map(kindOf),
      result: result === "void" ? result : integerOf(result),
    }]),
  ) as unknown as NativeFunctions<Table>;
}

/** The C prototype, in one line. */
export function cPrototype(name: string, [result, ...parameters]: Prototype): string {
  const declarations = parameters.map((parameter) =>
    typeof parameter === "string" ? parameter : parameter.at
  );
  return `${result} ${name}(${declarations.join(", ") || "void"})`;
}
