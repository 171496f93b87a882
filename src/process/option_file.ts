/** The texts of files that the command line names. */
import { errnoMessage, SystemError } from "../native/errors.ts";
import { openFile, OpenFlags, readFileUnsized } from "../native/file.ts";

/** The text of `path`, for -readconfig. Throws with QEMU's words if it cannot be read. */
export function readOptionFile(path: string): string {
  // Opened apart, so that a directory is distinguished from a file that is not there.
  openFile(path, OpenFlags.readOnly)[Symbol.dispose]();
  try {
    return new TextDecoder().decode(readFileUnsized(path));
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Error(`Cannot read config file: ${errnoMessage(error.errno)}`, { cause: error });
  }
}

/** The text of `path`, for -trace's `events`. */
export function readTraceFile(path: string): string {
  try {
    return new TextDecoder().decode(readFileUnsized(path));
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Error(`${path}: ${errnoMessage(error.errno)}`, { cause: error });
  }
}
