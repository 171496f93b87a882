/** Files at the paths of listening sockets: who made one removes it, unless somebody has replaced it. */
import { Errno, SystemError } from "../native/errors.ts";
import { statusOfPath, unlink } from "../native/file.ts";

/** A file at the path of a listening socket. */
export interface SocketFile {
  readonly path: string;
  readonly identity: string;
}

/** Which file a path names. Takes no descriptor: it is asked at the end, when there may be none. */
function identify(path: string): string {
  const { device, inode } = statusOfPath(path);
  return `${device}:${inode}`;
}

/** The file that listening at `path` has just made; removes it again if it cannot be looked at. */
export function identifyMade(path: string): SocketFile {
  try {
    return { path, identity: identify(path) };
  } catch (error) {
    unlink(path);
    throw error;
  }
}

/** What is at the path of a socket that a predecessor made; it may have been removed since. */
export function identifyOwn(path: string): SocketFile | undefined {
  try {
    return { path, identity: identify(path) };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return undefined;
  }
}

/** Removes the file, unless it was removed or replaced already. */
export function removeSocketFile({ path, identity }: SocketFile): void {
  try {
    if (identify(path) === identity) unlink(path);
  } catch (error) {
    if (!(error instanceof SystemError && error.errno === Errno.ENOENT)) throw error;
  }
}
