/**
 * -daemonize: the process that the user started starts itself again in a session of its own and ends
 * when that one is ready. (A process with threads cannot fork.)
 *
 *   parent: pipe, spawn itself with MOLT_DAEMON_READY -> waits for a byte -> exit 0, or 1 at the end
 *   child:  starts the machine -> gives up terminal and directory -> writes the byte
 *           (a machine that waits for a source gives up the directory when all of it is there)
 *
 * The child's standard streams are nothing from the start, and the user's come to it beside them: the
 * runtime keeps copies of those it starts with, and who reads a daemon's output to its end would wait
 * for as long as it runs.
 */
import { asFd, Descriptor, duplicate, setCloseOnExec } from "../native/descriptor.ts";
import { createPipe, openFile, OpenFlags, read, write } from "../native/file.ts";
import {
  environment,
  getEnvironment,
  replaceStandardStream,
  replaceStandardStreams,
  spawn,
  unsetEnvironment,
} from "../native/process.ts";
import { launch } from "./launch.ts";

const READY_VARIABLE = "MOLT_DAEMON_READY";

/** The child's end of the pipe, if this process is the child; it gets the user's terminal, too. */
export function takeReadiness(): Descriptor | undefined {
  const value = getEnvironment(READY_VARIABLE);
  if (value === undefined) return undefined;
  unsetEnvironment(READY_VARIABLE);
  const [ready = -1, output = -1, errors = -1] = value.split(",").map(Number);
  for (const [stream, given] of [[1, output], [2, errors]] as const) {
    using descriptor = new Descriptor(given);
    replaceStandardStream(stream, descriptor.fd);
  }
  const descriptor = new Descriptor(ready);
  setCloseOnExec(descriptor.fd, true);
  return descriptor;
}

/** Starts this program again as a daemon and returns the exit status for this process. */
export function startDaemon(): number {
  const [reader, writer] = createPipe();
  using ready = reader;
  {
    using childEnd = writer;
    using output = duplicate(asFd(1));
    using errors = duplicate(asFd(2));
    using nothing = openFile("/dev/null", OpenFlags.readWrite);
    // Under the numbers that they have here, which are none that the user passed on.
    const given = [childEnd.fd, output.fd, errors.fd];
    spawn(launch.daemonCommand, {
      descriptors: [
        ...given.map((fd) => [fd, fd] as const),
        ...[0, 1, 2].map((stream) => [nothing.fd, stream] as const),
      ],
      environment: [...environment(), `${READY_VARIABLE}=${given.join(",")}`],
      session: true,
    });
  }
  return read(ready.fd, new Uint8Array(1)) === 1 ? 0 : 1;
}

/** Ends the child's ties to the user's terminal and reports to the parent. Takes over `ready`. */
export function finishDaemon(ready: Descriptor): void {
  using descriptor = ready;
  using nothing = openFile("/dev/null", OpenFlags.readWrite);
  replaceStandardStreams(nothing.fd);
  write(descriptor.fd, new Uint8Array(1));
}
