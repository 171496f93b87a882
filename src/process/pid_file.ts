/** -pidfile: the process's id in a locked file, removed at the end. */
import type { Descriptor } from "../native/descriptor.ts";
import { processId } from "../native/process.ts";
import {
  lockFile,
  openFile,
  OpenFlags,
  readLink,
  truncate,
  unlink,
  writeAt,
} from "../native/file.ts";

/** Writes the file and keeps it until disposed. Throws if another process has it. */
export function createPidFile(path: string): Disposable {
  // -daemonize changes the directory meanwhile.
  const place = path.startsWith("/") ? path : `${readLink("/proc/self/cwd")}/${path}`;
  const descriptor = createFile(path);
  let locked = false;
  try {
    locked = lockFile(descriptor.fd, "write");
    if (!locked) throw new Error("Cannot lock pid file: Resource temporarily unavailable");
    truncate(descriptor.fd, 0);
    writeAt(descriptor.fd, new Uint8Array(new TextEncoder().encode(`${processId()}\n`)), 0);
  } catch (error) {
    // Without the lock it may be another process's.
    if (locked) removeUnfinished(place);
    descriptor[Symbol.dispose]();
    throw failure(error);
  }
  return {
    [Symbol.dispose]: () => {
      unlink(place);
      descriptor[Symbol.dispose]();
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

function createFile(path: string): Descriptor {
  try {
    return openFile(path, OpenFlags.readWrite | OpenFlags.create, 0o600);
  } catch (error) {
    throw failure(error);
  }
}

function failure(cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Error(`cannot create PID file: ${reason}`, { cause });
}
