/** Running tests one after the other and reporting what came of them. */
import { fullName } from "../plan.ts";
import { formatLine, type Line } from "../report.ts";

/** What a test may use. */
export interface TestContext {
  /** Reports that a part of the work is done. */
  step(text: string): void;
  /** Sets a cell of the test's row. */
  value(column: string, text: string): void;
  /** Whoever is asked what it knows if the test fails. Returns it. */
  use<T extends { describe(): string }>(witness: T): T;
  /** A signal after so many seconds. */
  patience(seconds: number): AbortSignal;
}

/** A test. */
export interface Test {
  /** The table in which it is a row. */
  readonly group: string;
  readonly name: string;
  readonly run: (test: TestContext) => Promise<void>;
}

/** The test as --only sees it. */
export function testName({ group, name }: Test): string {
  return fullName(group, name);
}

/** Runs a test; whatever it throws is its result. Returns whether it passed. */
export async function runTest(
  { group, name, run }: Test,
  report: (line: Line) => void,
): Promise<boolean> {
  report({ kind: "begin", group, name });
  const values: Record<string, string> = {};
  const witnesses: { describe(): string }[] = [];
  const started = performance.now();
  let failure: unknown;
  try {
    await run({
      step: (text) => report({ kind: "step", text }),
      value: (column, text) => void (values[column] = text),
      use(witness) {
        witnesses.push(witness);
        return witness;
      },
      patience: (seconds) => AbortSignal.timeout(seconds * 1000),
    });
  } catch (error) {
    failure = error;
  }
  const seconds = (performance.now() - started) / 1000;
  const error = failure === undefined ? {} : { error: messages(failure) };
  report({ kind: "result", result: { group, name, values, seconds, ...error } });
  if (failure === undefined) return true;
  for (const witness of witnesses) {
    report({ kind: "log", title: `${group}: ${name}`, text: witness.describe() });
  }
  return false;
}

/** Writes lines to a serial port. */
export function openPort(path: string): (line: Line) => void {
  const port = Deno.openSync(path, { write: true });
  return (line) => {
    let rest = new TextEncoder().encode(formatLine(line));
    while (rest.length > 0) rest = rest.subarray(port.writeSync(rest));
  };
}

/** The messages of an error and of its causes. */
function messages(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `: ${messages(error.cause)}`;
  return error.message + cause;
}
