/** The types of QMP's schema as zod schemas, which check, document and describe arguments and results. */
import * as z from "zod";
import type { JsonValue } from "../json/value.ts";

/** QAPI's names of built-in and sized integer types with their ranges. */
const integerRanges = {
  int: [-(1n << 63n), (1n << 63n) - 1n],
  int8: [-128n, 127n],
  int16: [-32768n, 32767n],
  int32: [-(1n << 31n), (1n << 31n) - 1n],
  uint8: [0n, 255n],
  uint16: [0n, 65535n],
  uint32: [0n, (1n << 32n) - 1n],
  uint64: [0n, (1n << 64n) - 1n],
  size: [0n, (1n << 64n) - 1n],
} as const;

type IntegerName = keyof typeof integerRanges;

/** What QEMU says a parameter expects that is out of its type's range. */
const expectations: Readonly<Record<IntegerName, string>> = {
  int: "int64",
  int8: "int8_t",
  int16: "int16_t",
  int32: "int32_t",
  uint8: "uint8_t",
  uint16: "uint16_t",
  uint32: "uint32_t",
  uint64: "uint64",
  size: "uint64",
};

function isWhole(value: unknown): value is number | bigint {
  return typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value));
}

/** A type whose values are integers in `name`'s range, and errors what QEMU says of it. */
function integerType<Value extends number | bigint>(
  name: IntegerName,
  isExact: (value: number | bigint) => value is Value,
): z.ZodType<Value, Value> {
  const [lowest, highest] = integerRanges[name];
  return z.custom<Value>().check(({ value, issues }) => {
    const given: unknown = value;
    if (!isWhole(given)) {
      const params = name.startsWith("int") ? { type: "integer" } : { expects: "uint64" };
      issues.push({ code: "custom", input: value, params });
    } else if (given < lowest || given > highest || !isExact(given)) {
      issues.push({ code: "custom", input: value, params: { expects: expectations[name] } });
    }
  }).meta({ qapi: "int" });
}

/** An integer that a number holds exactly: every sized type but the 64-bit ones, and counts. */
export function integer(name: IntegerName = "int"): z.ZodType<number, number> {
  return integerType(name, (value): value is number => Number.isSafeInteger(value));
}

/** A 64-bit integer: a bigint where a number does not hold it. */
export function wideInteger(
  name: "int" | "uint64" | "size",
): z.ZodType<number | bigint, number | bigint> {
  return integerType(name, (value): value is number | bigint => isWhole(value));
}

/** Any JSON value. */
export const anyValue: z.ZodType<JsonValue, JsonValue> = z.custom<JsonValue>((value) =>
  value !== undefined
)
  .meta({ qapi: "any" });

/** Arguments or results with these members and no other. */
export const struct = z.strictObject;

/** No arguments, or nothing to return. */
export const empty = struct({});
