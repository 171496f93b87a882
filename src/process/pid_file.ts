/**
 * -pidfile: the process's id in a locked file, removed at the end. A file that nobody has locked is taken
 * over if it is empty or holds one number; anything else at its path is left as it was.
 */
import { namesSet } from "../native/descriptor_path.ts";
import type { Descriptor } from "../native/descriptor.ts";
import { processId } from "../native/process.ts";
import {
  lockFile,
  openFile,
  OpenFlags,
  readAt,
  status,
  truncate,
  unlink,
  writeAt,
} from "../native/file.ts";
import { absolutePath, OwnFile } from "./own_file.ts";

/** Bytes of the longest file that is taken for a pid file. */
const CONTENT_LIMIT = 32;

/** Writes the file and keeps it until disposed. Throws if another process has it. */
export function createPidFile(path: string): Disposable {
  // -daemonize changes the directory meanwhile.
  const place = absolutePath(path);
  const descriptor = createFile(path);
  let ours = false;
  let file: OwnFile;
  try {
    if (!lockFile(descriptor.fd, "write")) {
      throw new Error("Cannot lock pid file: Resource temporarily unavailable");
    }
    checkContent(descriptor, path);
    ours = true;
    truncate(descriptor.fd, 0);
    writeAt(descriptor.fd, new Uint8Array(new TextEncoder().encode(`${processId()}\n`)), 0);
    file = OwnFile.made(path);
  } catch (error) {
    // Otherwise it is another process's, or no pid file.
    if (ours) removeUnfinished(place);
    descriptor[Symbol.dispose]();
    throw failure(error);
  }
  return {
    [Symbol.dispose]: () => {
      using _ = descriptor;
      file[Symbol.dispose]();
    },
  };
}

function removeUnfinished(path: string): void {
  try {
    unlink(path);
  } catch {
    // What is reported is why the file could not be written.
  }
}

/** Throws unless the file is empty or holds a process's id. */
function checkContent({ fd }: Descriptor, path: string): void {
  const { kind, size } = status(fd);
  if (kind !== "file") throw new Error(`'${path}' is not a regular file`);
  const content = new Uint8Array(Math.min(size, CONTENT_LIMIT));
  const text = new TextDecoder().decode(content.subarray(0, readAt(fd, content, 0)));
  if (size > CONTENT_LIMIT || !/^\s*\d*\s*$/.test(text)) {
    throw new Error(`'${path}' holds something other than a process id, and is left as it is`);
  }
}

function createFile(path: string): Descriptor {
  if (namesSet(path)) {
    throw failure(
      new Error(`'${path}' is a file without a name, which nobody finds: give a path`),
    );
  }
  try {
    return openFile(path, OpenFlags.readWrite | OpenFlags.create | OpenFlags.nonBlocking, 0o600);
  } catch (error) {
    throw failure(error);
  }
}

function failure(cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Error(`cannot create PID file: ${reason}`, { cause });
}
