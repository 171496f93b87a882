/**
 * What a program prints to its standard error until it does what it was started for. A daemon's standard
 * error leads nowhere, and whoever starts a program for a live update has to report why it failed.
 *
 *   starter   create() -> starts the program with the file as standard error, its own one beside it
 *   program   is ready -> release(): it has the starter's standard error, which gets what the file has
 *   starter   the program failed -> printedBy(): its last lines, for an error
 *
 * The file is a memfd of fixed size, so that nothing is waited for, and nothing breaks when one of the two
 * ends. A program that prints more than fits in it gets an error for the rest, and what came first is kept.
 */
import type { Descriptor, Fd } from "../native/descriptor.ts";
import { createMemfd, readAt, write } from "../native/file.ts";
import { replaceStandardStream } from "../native/process.ts";

/** The memfd's name, and its size in bytes. */
const FILE_NAME = "molt.errors";
const FILE_SIZE = 64 << 10;
/** Most lines, and most characters of each, that an error repeats. */
const LINES = 5;
const LINE_LENGTH = 300;

/** A file for what a program prints. */
export function createErrorFile(): Descriptor {
  return createMemfd(FILE_NAME, FILE_SIZE);
}

/** What was printed to the file, as bytes. */
function contentOf(file: Fd): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(FILE_SIZE);
  const content = bytes.subarray(0, Math.max(0, readAt(file, bytes, 0)));
  // Behind what was printed there are zeros.
  return content.subarray(0, content.findLastIndex((byte) => byte !== 0) + 1);
}

/**
 * `, having printed: LINE | LINE`: the lines of what was printed to the file, for the end of a sentence; of
 * many the first and the last ones. Empty if nothing was printed.
 */
export function printedTo(file: Fd): string {
  const lines = new TextDecoder().decode(contentOf(file)).split("\n")
    .map((line) => line.trim().slice(0, LINE_LENGTH))
    .filter((line) => line !== "");
  if (lines.length === 0) return "";
  const [first = ""] = lines;
  const shown = lines.length <= LINES ? lines : [first, "...", ...lines.slice(1 - LINES)];
  return `, having printed: ${shown.join(" | ")}`;
}

/** Writes what was printed to the file to this process's standard error. */
export function forwardErrors(file: Fd): void {
  const STDERR = 2 as Fd;
  const bytes = contentOf(file);
  if (bytes.length === 0) return;
  try {
    write(STDERR, bytes);
  } catch {
    // Whoever read it before has ended.
  }
}

/** The standard error of the process that has started this one, and the file that this one prints to. */
export interface CapturedErrors {
  readonly stream: Descriptor;
  readonly file: Descriptor;
}

/** Prints to the starter's standard error from now on, and there what was printed so far. Closes both. */
export function releaseErrors(captured: CapturedErrors | undefined): void {
  if (captured === undefined) return;
  using stream = captured.stream;
  using file = captured.file;
  if (stream.closed || file.closed) return;
  replaceStandardStream(2, stream.fd);
  forwardErrors(file.fd);
}
