/**
 * -daemonize: the process that the user started starts itself again in a session of its own and ends
 * when that one is ready. (A process with threads cannot fork.)
 *
 *   parent: pipe, spawn itself with MOLT_DAEMON_READY -> waits for a byte -> exit 0, or 1 at the end
 *   child:  starts the machine -> gives up terminal and directory -> writes the byte
 */
import { Descriptor, setCloseOnExec } from "../native/descriptor.ts";
import { createPipe, openFile, OpenFlags, read, write } from "../native/file.ts";
import {
  changeDirectory,
  environment,
  getEnvironment,
  replaceStandardStreams,
  spawn,
  unsetEnvironment,
} from "../native/process.ts";
import { ownCommand } from "./own_command.ts";

const READY_VARIABLE = "MOLT_DAEMON_READY";

/** The child's end of the pipe, if this process is the child. */
export function takeReadiness(): Descriptor | undefined {
  const value = getEnvironment(READY_VARIABLE);
  if (value === undefined) return undefined;
  unsetEnvironment(READY_VARIABLE);
  const descriptor = new Descriptor(Number(value));
  setCloseOnExec(descriptor.fd, true);
  return descriptor;
}

/** Starts this program again as a daemon and returns the exit status for this process. */
export function startDaemon(): number {
  const [reader, writer] = createPipe();
  using ready = reader;
  const READY_FD = 3;
  {
    using childEnd = writer;
    spawn(ownCommand(), {
      descriptors: [[childEnd.fd, READY_FD]],
      environment: [...environment(), `${READY_VARIABLE}=${READY_FD}`],
      session: true,
    });
  }
  return read(ready.fd, new Uint8Array(1)) === 1 ? 0 : 1;
}

/** Ends the child's ties to the user's terminal and tells the parent. Takes over `ready`. */
export function finishDaemon(ready: Descriptor): void {
  using descriptor = ready;
  using nothing = openFile("/dev/null", OpenFlags.readWrite);
  changeDirectory("/");
  replaceStandardStreams(nothing.fd);
  write(descriptor.fd, new Uint8Array(1));
}
