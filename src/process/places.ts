/**
 * Whether a machine's sockets, logs and pid file could be made where its options say, without making any:
 * their folder takes a new file, or the file that is there can be written.
 */
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import { Errno, SystemError } from "../native/errors.ts";
import { openFile, OpenFlags, pathKind } from "../native/file.ts";

/** Something that is made at `path`; a socket takes the place of one that is there. */
interface Place {
  readonly what: string;
  readonly path: string;
  readonly kind: "file" | "socket";
}

/** Throws an error that names the first place where nothing can be made. */
export function requirePlaces(config: VirtualMachineConfig): void {
  for (const place of placesOf(config)) requirePlace(place);
}

function placesOf({ chardevs, process, log }: VirtualMachineConfig): Place[] {
  const file = (what: string, path: string | undefined): Place[] =>
    path === undefined ? [] : [{ what, path, kind: "file" }];
  return [
    ...file("pid file", process.pidFile),
    ...file("log file", log.file),
    ...chardevs.flatMap(({ id, backend, logfile }): Place[] => {
      const what = `chardev '${id}'`;
      const logs = file(`the log of ${what}`, logfile);
      if (backend.kind === "file") return [...logs, ...file(what, backend.path)];
      if (backend.kind !== "socket" || backend.role.kind !== "server") return logs;
      const { address } = backend;
      if (address.kind !== "unix" || address.abstract) return logs;
      return [...logs, { what, path: address.path, kind: "socket" }];
    }),
  ];
}

/** Bytes of the longest path that a socket can have (unix(7)). */
const SOCKET_PATH_LIMIT = 107;

function requirePlace({ what, path, kind }: Place): void {
  if (kind === "socket" && new TextEncoder().encode(path).length > SOCKET_PATH_LIMIT) {
    throw new Error(`${what}: the socket's path '${path}' is too long`);
  }
  const slash = path.lastIndexOf("/");
  const folder = slash < 0 ? "." : path.slice(0, slash + 1);
  try {
    const there = kind === "file" ? pathKind(path) : undefined;
    // What is no regular file may do anything when it is opened.
    if (there !== undefined && there !== "file") return;
    using _ = there === "file"
      ? openFile(path, OpenFlags.writeOnly)
      : openFile(folder, OpenFlags.readWrite | OpenFlags.temporary);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    // File systems without O_TMPFILE: nothing is known.
    if (error.errno === Errno.EOPNOTSUPP || error.errno === Errno.EISDIR) return;
    throw new SystemError(`${what} cannot be made at '${path}'`, error.errno);
  }
}
