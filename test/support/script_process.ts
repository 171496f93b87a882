/** The project's scripts, run as a user runs them. */
import { assertEquals } from "@std/assert";
import * as z from "zod";
import { PATIENCE, patience } from "./patience.ts";

const root = new URL("../../", import.meta.url).pathname;

/** What a script ended with. */
export interface ScriptResult {
  readonly status: number;
  readonly output: string;
  readonly errorText: string;
}

/** Runs `deno task TASK ARG ...` and waits for its end; one that does not end is killed. */
export async function runTask(task: string, ...args: readonly string[]): Promise<ScriptResult> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "--config", `${root}deno.json`, task, ...args],
    stdin: "null",
    // Scripts give up what they wait for by themselves: this is for their faults.
    signal: patience(3 * PATIENCE),
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { status: code, output: text(stdout), errorText: text(stderr) };
}

const outcome = z.looseObject({
  ok: z.boolean(),
  error: z.string().optional(),
  exitStatus: z.number(),
  /** The guest's. */
  status: z.string().optional(),
  pid: z.number().optional(),
  /** What ran the guest before, and what runs it now. */
  before: z.string().optional(),
  program: z.string().optional(),
  pause: z.number().optional(),
  /** What the successor answered when it was asked. */
  check: z.looseObject({ result: z.string() }).optional(),
});

/** What a script reports with --json. */
export type ScriptOutcome = Readonly<z.infer<typeof outcome>>;

/** Runs a task with --json. Fails, with what it said, if its status is not `expected`. */
export async function runTaskJson(
  expected: number,
  task: string,
  ...args: readonly string[]
): Promise<ScriptOutcome> {
  const { status, output, errorText } = await runTask(task, "--json", ...args);
  if (status !== expected) {
    throw new Error(`${task} ended with status ${status}: ${output}${errorText}`);
  }
  const parsed = outcome.parse(JSON.parse(output));
  assertEquals([parsed.ok, parsed.exitStatus], [status === 0, status], output);
  return parsed;
}

/** Starts a script that something is to happen to while it runs. */
export function startScript(name: string, ...args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--config", `${root}deno.json`, `${root}scripts/${name}`, ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}
