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
  const descriptor = createFile(path);
  // -daemonize changes the directory meanwhile.
  const place = path.startsWith("/") ? path : `${readLink("/proc/self/cwd")}/${path}`;
  try {
    if (!lockFile(descriptor.fd, "write")) {
      throw new Error("Cannot lock pid file: Resource temporarily unavailable");
    }
    truncate(descriptor.fd, 0);
    writeAt(descriptor.fd, new Uint8Array(new TextEncoder().encode(`${processId()}\n`)), 0);
  } catch (error) {
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
