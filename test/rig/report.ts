/** What the driver of the tests reports the program that started it: lines of JSON on a serial port. */

/** What a test has found. */
export interface Result {
  /** The table in which it is a row. */
  readonly group: string;
  readonly name: string;
  /** Cells of its row by column. */
  readonly values: Readonly<Record<string, string>>;
  readonly seconds: number;
  /** Why it failed. */
  readonly error?: string;
}

/** A line. */
export type Line =
  | { readonly kind: "begin"; readonly group: string; readonly name: string }
  /** The test that has begun has done a part of its work. */
  | { readonly kind: "step"; readonly text: string }
  | { readonly kind: "result"; readonly result: Result }
  /** What machines said, for whoever looks into a failure. */
  | { readonly kind: "log"; readonly title: string; readonly text: string }
  | { readonly kind: "end" };

/** A line as it is written. */
export function formatLine(line: Line): string {
  return `${JSON.stringify(line)}\n`;
}

/** Reads a line. Throws for anything else: the port is for these lines only. */
export function parseLine(text: string): Line {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch (cause) {
    throw new Error(`unexpected on the port for results: ${text}`, { cause });
  }
  if (typeof line !== "object" || line === null || !("kind" in line)) {
    throw new Error(`unexpected on the port for results: ${text}`);
  }
  return line as Line;
}
