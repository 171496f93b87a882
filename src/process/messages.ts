/** Reports to the user on standard error: with -msg's time and name. */
import { asFd, type Fd } from "../native/descriptor.ts";
import { errnoMessage, SystemError } from "../native/errors.ts";
import { openFile, OpenFlags, write } from "../native/file.ts";

/** How messages look. */
export interface MessageOptions {
  /** Start with the time. */
  readonly timestamp: boolean;
  /** Start with the guest's name. */
  readonly guestName: string | undefined;
  /** -qtest: no notices. QEMU's test library takes a line that it does not expect for a failure. */
  readonly quiet: boolean;
}

let options: MessageOptions = { timestamp: false, guestName: undefined, quiet: false };

/** Sets how messages look from now on. */
export function setUpMessages(changed: MessageOptions): void {
  options = changed;
}

/**
 * Makes -D's file, emptied as QEMU does. It is for what -d and -trace log, and nothing here is logged
 * so; errors belong on standard error with it as without.
 */
export function createLogFile(path: string): void {
  const { writeOnly, create, truncate } = OpenFlags;
  try {
    openFile(path, writeOnly | create | truncate, 0o666)[Symbol.dispose]();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Error(`Error opening logfile ${path}: ${errnoMessage(error.errno)}`, {
      cause: error,
    });
  }
}

/** Lines on standard output, without the program's name: for programs that look for them, and help. */
export function announce(lines: string): void {
  const STDOUT: Fd = asFd(1);
  writeText(STDOUT, `${lines}\n`);
}

/** Reports to the user, in lines that start with the program's name. */
export function report(text: string): void {
  const time = options.timestamp ? `${new Date().toISOString()} ` : "";
  const name = options.guestName === undefined ? "" : `${options.guestName} `;
  const STDERR: Fd = asFd(2);
  const lines = text.split("\n").map((line) => `${time}${name}molt: ${line}\n`).join("");
  writeText(STDERR, lines);
}

/** Reports what is no failure, and what QEMU does not report to its test library. */
export function notice(text: string): void {
  if (!options.quiet) report(text);
}

function writeText(fd: Fd, text: string): void {
  try {
    const bytes = new Uint8Array(new TextEncoder().encode(text));
    for (let done = 0; done < bytes.length;) {
      // Nobody waits for a terminal that takes no more.
      done += write(fd, bytes.subarray(done)) ?? bytes.length;
    }
  } catch {
    // There is nowhere left to report that reporting failed.
  }
}
