/**
 * A script's options, declared once as a zod object: from it come the types, the checks and the help.
 *
 *   const options = z.strictObject({
 *     qmp: value("ADDRESS", "the running machine's monitor"),
 *     keep: flag("leave the old process alone"),
 *   });
 *
 * A program to start follows `--`.
 */
import { parseArgs } from "@std/cli/parse-args";
import { parseQmpAddress, QmpError } from "../../src/qmp_client/mod.ts";
import * as z from "zod";

/** What was typed cannot be done. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A declaration of options. */
export type OptionShape = Record<string, z.ZodType>;

/** An option with a value, which `placeholder` stands for in the help. */
export function value(placeholder: string, description: string): z.ZodString {
  return z.string().meta({ placeholder, description });
}

/** An option that is a monitor's address. */
export function address(description: string) {
  return z.string().superRefine((text, context) => {
    try {
      parseQmpAddress(text);
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      context.addIssue(error.message);
    }
  }).meta({ placeholder: "ADDRESS", description });
}

/** The greatest number that an option takes: as seconds it fits the runtime's timers, which take ms. */
const MOST = 2_000_000;

/** An option that is a whole number from `minimum` on. */
export function count(placeholder: string, minimum: number, description: string) {
  return z.string().regex(/^\d+$/, "a whole number is expected").transform(Number)
    .refine((number) => number >= minimum, `at least ${minimum} is expected`)
    .refine((number) => number <= MOST, `at most ${MOST} is expected`)
    .meta({ placeholder, description });
}

/** An option that is there or not. */
export function flag(description: string) {
  return z.boolean().default(false).meta({ description });
}

/** Options that every script has. */
const commonOptions = {
  "dry-run": flag("print the commands and programs instead of executing them"),
  "json": flag("print one JSON object at the end and no text"),
  "help": flag("print this"),
};

const metadata = z.object({
  description: z.string(),
  placeholder: z.string().optional(),
});

function describe(schema: z.ZodType): z.infer<typeof metadata> {
  const found = metadata.safeParse(schema.meta());
  if (found.success) return found.data;
  const inner = schema instanceof z.ZodOptional || schema instanceof z.ZodDefault
    ? schema.unwrap()
    : undefined;
  return inner instanceof z.ZodType ? describe(inner) : { description: "" };
}

function isFlag(schema: z.ZodType): boolean {
  return describe(schema).placeholder === undefined;
}

/** Some lines for each option, wrapped at 100 columns. */
export function describeOptions(shape: OptionShape): string {
  const rows = Object.entries({ ...shape, ...commonOptions }).map(([name, schema]) => {
    const { description, placeholder } = describe(schema);
    const standard = schema instanceof z.ZodDefault && placeholder !== undefined
      ? ` (default ${schema.parse(undefined)})`
      : "";
    return [`--${name}${placeholder ? ` ${placeholder}` : ""}`, description + standard] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows.map(([left, right]) => {
    const lines = wrap(right, 98 - width);
    return lines.map((line, i) => `  ${(i === 0 ? left : "").padEnd(width)}${line}`).join("\n");
  }).join("\n");
}

function wrap(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1) ?? "";
    if (last === "") lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** The values of a declaration's options. */
export type OptionsOf<S extends OptionShape> = z.output<z.ZodObject<S>>;

/** What was typed. */
export interface Parsed<S extends OptionShape> {
  readonly options: OptionsOf<S>;
  readonly dryRun: boolean;
  readonly json: boolean;
  /** Words that are not options. */
  readonly words: readonly string[];
  /** What followed `--`; undefined if there was none. */
  readonly command: readonly string[] | undefined;
}

/** Whether an option without a value was typed. */
export function hasFlag(argv: readonly string[], name: keyof typeof commonOptions): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end < 0 ? argv.length : end).includes(`--${name}`);
}

/** Reads arguments by a declaration. Throws UsageError, naming the option and the value. */
export function parseOptions<S extends OptionShape>(
  argv: readonly string[],
  shape: S,
): Parsed<S> {
  const all: OptionShape = { ...shape, ...commonOptions };
  const flags = Object.keys(all).filter((name) => isFlag(all[name] ?? z.never()));
  const valued = Object.keys(all).filter((name) => !flags.includes(name));
  const typed: Record<string, unknown> & { _: string[]; "--"?: string[] } = parseArgs([...argv], {
    boolean: flags,
    string: [...valued, "_"],
    collect: valued,
    "--": true,
    unknown: (argument: string, key?: string) => {
      if (key !== undefined) throw new UsageError(`unknown option ${argument}`);
      return true;
    },
  });
  const given: Record<string, unknown> = {};
  for (const name of Object.keys(shape)) {
    const content = typed[name];
    const [first, ...more] = Array.isArray(content) ? content : [content];
    if (more.length > 0) throw new UsageError(`--${name} is given twice`);
    if (first === "") throw new UsageError(`--${name} needs a value`);
    if (first !== undefined) given[name] = first;
  }
  const parsed = z.strictObject(shape).safeParse(given);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const name = String(issue?.path[0]);
    if (given[name] === undefined) throw new UsageError(`--${name} is missing`);
    throw new UsageError(`--${name} ${given[name]}: ${issue?.message}`);
  }
  return {
    options: parsed.data,
    dryRun: hasFlag(argv, "dry-run"),
    json: hasFlag(argv, "json"),
    words: typed._,
    command: typed["--"]?.length ? typed["--"] : undefined,
  };
}
