/**
 * `molt inspect`: shows what is in a migration stream, a snapshot or CPR state, whoever wrote it, and
 * what two of them differ in.
 */
import { parseArgs } from "@std/cli/parse-args";
import { parseSize } from "../configuration/values.ts";
import { openFile, OpenFlags, writeAt } from "../native/file.ts";
import { blockChecksum } from "./checksum.ts";
import { compare, isSame } from "./compare.ts";
import { comparisonText, comparisonValue } from "./comparison_text.ts";
import { examine } from "./examine.ts";
import { comparisonHtml, reportHtml } from "./html.ts";
import { jsonText, reportValue } from "./json.ts";
import type { OpenReport } from "./report.ts";
import { reportText } from "./table.ts";

const help = `usage: molt inspect [options] FILE
       molt inspect [options] A B

Shows what is in a migration stream, a snapshot (mapped-ram) or CPR state, of molt or of QEMU; of
two files, what they differ in: configuration, sections, fields by name, pages by ranges.

  --summary       leave out the devices' fields
  --checksum      SHA-256 of each block's content
  --json          everything as JSON
  --html PAGE     write to PAGE: the report, with a picture of which pages are present, or what differs
  --offset SIZE   where the stream begins in the file (as with file:PATH,offset=SIZE)
  --help          this text

Exit status: 0, 1 if a file is damaged or cannot be read or two files differ, 2 for wrong usage.`;

/** What the command line asks for. */
interface Options {
  readonly files: readonly string[];
  readonly summary: boolean;
  readonly checksum: boolean;
  readonly json: boolean;
  readonly html: string | undefined;
  readonly offset: number;
}

/** A command line that makes no sense. */
class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Where the output goes: lines for the standard output and the standard error. */
export interface InspectOutput {
  print(text: string): void;
  complain(text: string): void;
}

const terminal: InspectOutput = {
  print: (text) => console.log(text),
  complain: (text) => console.error(text),
};

/** Runs `molt inspect` with its arguments. Returns the exit status. */
export function inspect(
  argv: readonly string[],
  output: InspectOutput = terminal,
): Promise<number> {
  return Promise.resolve(run(argv, output));
}

function run(argv: readonly string[], { print, complain }: InspectOutput): number {
  try {
    const options = parseOptions(argv);
    if (options === undefined) {
      print(help);
      return 0;
    }
    using resources = new DisposableStack();
    const reports = options.files.map((file) => resources.use(examine(file, options)));
    const [first, second] = reports;
    if (first === undefined) throw new UsageError("no file is named");
    if (second === undefined) return show(first, options, print, complain);
    const comparison = compare(first, second);
    if (options.html !== undefined) {
      writePage(options.html, comparisonHtml(comparison, reports.map(({ report }) => report)));
    }
    if (options.json) print(jsonText(comparisonValue(comparison)));
    else if (options.html === undefined) print(comparisonText(comparison));
    const damaged = reports.filter(({ report }) => complainOf(report, complain));
    return damaged.length === 0 && isSame(comparison) ? 0 : 1;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    complain(`molt inspect: ${error.message}`);
    if (!(error instanceof UsageError)) return 1;
    complain("Try 'molt inspect --help'.");
    return 2;
  }
}

function show(
  open: OpenReport,
  options: Options,
  print: InspectOutput["print"],
  complain: InspectOutput["complain"],
): number {
  const { report, readFully } = open;
  if (options.checksum && report.kind === "stream") {
    for (const block of report.blocks) block.checksum = blockChecksum(block.pages, readFully);
  }
  if (options.html !== undefined) writePage(options.html, reportHtml(report));
  if (options.json) print(jsonText(reportValue(report)));
  else if (options.html === undefined) print(reportText(report, { fields: !options.summary }));
  return complainOf(report, complain) ? 1 : 0;
}

/** Says what is wrong with a file. True if something is. */
function complainOf(report: OpenReport["report"], complain: InspectOutput["complain"]): boolean {
  if (report.problem === undefined) return false;
  complain(`molt inspect: ${report.file}: ${report.problem.message}`);
  return true;
}

function writePage(path: string, page: string): void {
  using file = openFile(path, OpenFlags.writeOnly | OpenFlags.create | OpenFlags.truncate, 0o644);
  writeAt(file.fd, new Uint8Array(new TextEncoder().encode(page)), 0);
}

/** `undefined` if only help is asked for. */
function parseOptions(argv: readonly string[]): Options | undefined {
  const known = ["summary", "checksum", "json", "help", "html", "offset"];
  const args = parseArgs([...argv], {
    boolean: ["summary", "checksum", "json", "help"],
    string: ["html", "offset", "_"],
    unknown: (name: string, key?: string) => {
      if (key !== undefined) throw new UsageError(`unknown option '${name}'`);
    },
  });
  if (args.help) return undefined;
  for (const name of known) {
    if (Array.isArray(args[name])) throw new UsageError(`--${name} is given twice`);
  }
  const files = args._.map(String);
  if (files.length === 0) throw new UsageError("no file is named");
  if (files.length > 2) {
    throw new UsageError(`${files.length} files are named; 1 or 2 can be inspected`);
  }
  if (args.html === "") throw new UsageError("--html needs the name of the page");
  const offset = args.offset === undefined ? undefined : parseSize(args.offset);
  if (offset !== undefined && offset.kind !== "size") {
    throw new UsageError(`--offset '${args.offset}' is not a size`);
  }
  return {
    files,
    summary: args.summary,
    checksum: args.checksum,
    json: args.json,
    html: args.html,
    offset: offset?.bytes ?? 0,
  };
}
