/** What is wrong with a command's arguments, in QEMU's words. */
import type * as z from "zod";
import { CommandError } from "./errors.ts";
import type { JsonObject, JsonValue } from "../json/value.ts";

/** Arguments that do not fit their command. */
export class ArgumentError extends CommandError {}

type Path = readonly PropertyKey[];
type Issue = z.core.$ZodIssue;

/** `channels[0].addr.path` */
function describePath(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === "number") return `${text}[${step}]`;
    return text === "" ? String(step) : `${text}.${String(step)}`;
  }, "");
}

/** The member's own name, as QEMU says where it knows no path; elements of lists have none. */
function memberName(path: Path): string {
  const last = path.at(-1);
  return typeof last === "string" ? last : "null";
}

function valueAt(root: JsonValue | undefined, path: Path): JsonValue | undefined {
  let value = root;
  for (const step of path) {
    if (typeof value !== "object" || value === null) return undefined;
    const member = Object.getOwnPropertyDescriptor(value, step);
    value = member?.value;
  }
  return value;
}

/** The words for zod's types in error texts. */
const typeNames: Readonly<Record<string, string>> = {
  int: "integer",
  bigint: "integer",
  null: "null",
  record: "object",
};

function wrongType(path: Path, expected: string): string {
  const name = typeNames[expected] ?? expected;
  return `Invalid parameter type for '${describePath(path)}', expected: ${name}`;
}

function describeIssue(root: JsonObject, issue: Issue): string {
  if (issue.code === "unrecognized_keys") {
    const path = describePath([...issue.path, issue.keys[0] ?? ""]);
    return `Parameter '${path}' is unexpected`;
  }
  const value = valueAt(root, issue.path);
  if (value === undefined) return `Parameter '${describePath(issue.path)}' is missing`;
  switch (issue.code) {
    case "invalid_type":
      return wrongType(issue.path, issue.expected);
    case "invalid_value":
      if (typeof value !== "string") return wrongType(issue.path, "string");
      return `Parameter '${memberName(issue.path)}' does not accept value '${value}'`;
    case "invalid_union":
      // Not one of the values of the union's discriminator.
      if (typeof value !== "string") return wrongType(issue.path, "string");
      return `Parameter '${memberName(issue.path)}' does not accept value '${value}'`;
    case "custom": {
      const expects: unknown = issue.params?.["expects"];
      const type: unknown = issue.params?.["type"];
      const complaint: unknown = issue.params?.["complaint"];
      if (typeof complaint === "string") return complaint;
      if (typeof type === "string") return wrongType(issue.path, type);
      if (typeof expects === "string") {
        return `Parameter '${memberName(issue.path)}' expects ${expects}`;
      }
    }
  }
  return `Parameter '${describePath(issue.path)}': ${issue.message}`;
}

/** Checks `given` against `schema`: the arguments, or an {@linkcode ArgumentError}. */
export function parseArguments<Schema extends z.ZodType>(
  schema: Schema,
  given: JsonObject,
): z.output<Schema> {
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ArgumentError(issue === undefined ? result.error.message : describeIssue(given, issue));
}
