/** -pidfile: the process's id in a locked file, removed at the end. */
import { processId } from "../native/process.ts";
import { lockFile, openFile, OpenFlags, truncate, unlink, writeAt } from "../native/file.ts";

/** Writes the file and keeps it until disposed. Throws if another process has it. */
export function createPidFile(path: string): Disposable {
  const descriptor = openFile(path, OpenFlags.readWrite | OpenFlags.create, 0o600);
  try {
    if (!lockFile(descriptor.fd, "write")) {
      throw new Error(`cannot create PID file: Cannot lock pid file '${path}'`);
    }
    truncate(descriptor.fd, 0);
    writeAt(descriptor.fd, new Uint8Array(new TextEncoder().encode(`${processId()}\n`)), 0);
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
  return {
    [Symbol.dispose]: () => {
      unlink(path);
      descriptor[Symbol.dispose]();
    },
  };
}
