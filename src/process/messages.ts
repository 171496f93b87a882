/** What the user is told on standard error, or in -D's file: with -msg's time and name. */
import { asFd, type Descriptor, type Fd } from "../native/descriptor.ts";
import { openFile, OpenFlags, write } from "../native/file.ts";

/** How messages look. */
export interface MessageOptions {
  /** Start with the time. */
  readonly timestamp: boolean;
  /** Start with the guest's name. */
  readonly guestName: string | undefined;
  /** -D: a file to append to instead of standard error. */
  readonly file: string | undefined;
}

let options: MessageOptions = { timestamp: false, guestName: undefined, file: undefined };
let file: Descriptor | undefined;

/** Sets how messages look from now on. Throws if the file cannot be opened. */
export function setUpMessages(changed: MessageOptions): void {
  const flags = OpenFlags.writeOnly | OpenFlags.create | OpenFlags.append;
  const opened = changed.file === undefined ? undefined : openFile(changed.file, flags, 0o644);
  file?.[Symbol.dispose]();
  file = opened;
  options = changed;
}

/** Tells the user something, in lines that start with the program's name. */
export function tell(text: string): void {
  const time = options.timestamp ? `${new Date().toISOString()} ` : "";
  const name = options.guestName === undefined ? "" : `${options.guestName} `;
  const STDERR: Fd = asFd(2);
  const lines = text.split("\n").map((line) => `${time}${name}molt: ${line}\n`).join("");
  const bytes = new TextEncoder().encode(lines);
  try {
    write(file?.fd ?? STDERR, new Uint8Array(bytes));
  } catch {
    // Nobody can be told that telling failed.
  }
}
