/** Files at the paths of listening sockets: who made one removes it, unless somebody has replaced it. */
import { SystemError } from "../native/errors.ts";
import { openFile, status } from "../native/file.ts";

/** Which file a path names, without opening what is behind it. */
export function identify(path: string): string {
  const O_PATH = 0o10000000;
  using file = openFile(path, O_PATH);
  const { device, inode } = status(file.fd);
  return `${device}:${inode}`;
}

/** A file at the path of a listening socket. */
export interface SocketFile {
  readonly path: string;
  readonly identity: string;
}

/** What is at the path of a socket that listens here; a predecessor's may have been removed since. */
export function identifyOwn(path: string): SocketFile | undefined {
  try {
    return { path, identity: identify(path) };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return undefined;
  }
}
