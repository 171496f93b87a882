/** How this program can be started again. */
import { readFileUnsized, readLink } from "../native/file.ts";

/** What the kernel adds to the path of a file that is no longer there. */
const REMOVED = / \(deleted\)$/;

/**
 * This process's program, by its whole path, and arguments. Where the file has been replaced since, that
 * is the new program: the runtime looks for what a compiled program carries under that path.
 */
export function ownCommand(): string[] {
  const command = new TextDecoder().decode(readFileUnsized("/proc/self/cmdline")).split("\0");
  return [readLink("/proc/self/exe").replace(REMOVED, ""), ...command.slice(1, -1)];
}
