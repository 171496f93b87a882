/** Files, pipes and memfds. Paths and names are the host's. */
import { layouts } from "./layouts.ts";
import { cString, native } from "./library.ts";
import { Errno, SystemError, unwrap } from "./errors.ts";
import { Descriptor, type Fd } from "./descriptor.ts";
import { threads } from "./thread_pool.ts";

/** O_* flags of open(2) on x86-64. */
export const OpenFlags = {
  readOnly: 0,
  writeOnly: 1,
  readWrite: 2,
  create: 0o100,
  exclusive: 0o200,
  truncate: 0o1000,
  append: 0o2000,
  nonBlocking: 0o4000,
  direct: 0o40000,
  directory: 0o200000,
  /** An unnamed file in a directory (O_TMPFILE). */
  temporary: 0o20200000,
} as const;

/**
 * Opens what a path stands for with O_* `flags`, as {@linkcode openFile} does; `mode` is for a file that is
 * created. A path that a user gave may stand for a descriptor of the process (native/descriptor_path.ts).
 */
export type OpenPath = (path: string, flags: number, mode?: number) => Descriptor;

/** Opens `path`. Fails as QEMU words it: `Could not open '/x': No such file or directory`. */
export function openFile(path: string, flags: number, mode = 0o600): Descriptor {
  const verb = flags & OpenFlags.create ? "create" : "open";
  return new Descriptor(
    unwrap(native.molt_open(cString(path), flags, mode), `Could not ${verb} '${path}'`),
  );
}

/** Reads up to `buffer.length` bytes: the count, 0 at the end, `undefined` if it would block. */
export function read(fd: Fd, buffer: Uint8Array<ArrayBuffer>): number | undefined {
  const result = Number(native.molt_read(fd, buffer, BigInt(buffer.length)));
  if (result === -Errno.EAGAIN || result === -Errno.EINTR) return undefined;
  return unwrap(result, "Could not read");
}

/** Writes up to `bytes.length` bytes: the count, `undefined` if it would block. */
export function write(fd: Fd, bytes: Uint8Array<ArrayBuffer>): number | undefined {
  const result = Number(native.molt_write(fd, bytes, BigInt(bytes.length)));
  if (result === -Errno.EAGAIN || result === -Errno.EINTR) return undefined;
  return unwrap(result, "Could not write");
}

/** Reads at `offset` without moving the file position. Returns the count, 0 at the end. */
export function readAt(fd: Fd, buffer: Uint8Array<ArrayBuffer>, offset: number): number {
  return unwrap(
    native.molt_pread(fd, buffer, BigInt(buffer.length), BigInt(offset)),
    () => `Could not read at offset ${offset}`,
  );
}

/** Writes all of `bytes` at `offset` without moving the file position. */
export function writeAt(fd: Fd, bytes: Uint8Array<ArrayBuffer>, offset: number): void {
  let done = 0;
  while (done < bytes.length) {
    const rest = bytes.subarray(done);
    done += unwrap(
      native.molt_pwrite(fd, rest, BigInt(rest.length), BigInt(offset + done)),
      () => `Could not write at offset ${offset + done}`,
    );
  }
}

/** Where {@linkcode seek} counts from. */
export const Whence = { start: 0, current: 1, end: 2, data: 3, hole: 4 } as const;

/** Moves the file position and returns it. */
export function seek(fd: Fd, offset: number, whence: number = Whence.start): number {
  return unwrap(native.molt_seek(fd, BigInt(offset), whence), "Could not seek");
}

export function truncate(fd: Fd, length: number): void {
  unwrap(native.molt_truncate(fd, BigInt(length)), `Could not set the size to ${length} bytes`);
}

/** What fstat says of an open file. */
export interface FileStatus {
  readonly kind: "file" | "directory" | "character" | "block" | "pipe" | "socket" | "other";
  /** Bytes. */
  readonly size: number;
  readonly device: bigint;
  readonly inode: bigint;
  /** Bytes allocated on disk or in memory. */
  readonly allocated: number;
  /** Somebody may execute it. */
  readonly executable: boolean;
}

const kinds: Readonly<Record<number, FileStatus["kind"]>> = {
  0o1: "pipe",
  0o2: "character",
  0o4: "directory",
  0o6: "block",
  0o10: "file",
  0o14: "socket",
};

/** Sets the permissions of an open file, or of the file that a socket will be bound to. */
export function setMode(fd: Fd, mode: number): void {
  unwrap(native.molt_set_mode(fd, mode), () => `Could not set the mode of descriptor ${fd}`);
}

/** What is at `path`, a symbolic link not followed; `undefined` if nothing is. */
export function pathKind(path: string): FileStatus["kind"] | undefined {
  try {
    return statusOfPath(path).kind;
  } catch (error) {
    if (error instanceof SystemError && error.errno === Errno.ENOENT) return undefined;
    throw error;
  }
}

const layout = layouts.stat;

/** What an open file is. */
export function status(fd: Fd): FileStatus {
  const bytes = new Uint8Array(layout.sizeof);
  unwrap(native.molt_stat(fd, bytes), () => `Could not inspect descriptor ${fd}`);
  return statusOf(bytes);
}

/** What is at `path`, which takes no descriptor; a symbolic link is not followed. */
export function statusOfPath(path: string): FileStatus {
  const bytes = new Uint8Array(layout.sizeof);
  unwrap(native.molt_stat_path(cString(path), bytes), () => `Could not inspect '${path}'`);
  return statusOf(bytes);
}

function statusOf(bytes: Uint8Array<ArrayBuffer>): FileStatus {
  const view = new DataView(bytes.buffer);
  const mode = view.getUint32(layout.st_mode, true);
  return {
    kind: kinds[mode >> 12] ?? "other",
    size: Number(view.getBigInt64(layout.st_size, true)),
    device: view.getBigUint64(layout.st_dev, true),
    inode: view.getBigUint64(layout.st_ino, true),
    allocated: Number(view.getBigInt64(layout.st_blocks, true)) * 512,
    executable: (mode & 0o111) !== 0,
  };
}

/** The whole content of a file, at most `limit` bytes. */
export function readFile(path: string, limit = 1 << 30): Uint8Array<ArrayBuffer> {
  using descriptor = openFile(path, OpenFlags.readOnly);
  return readOpenFile(descriptor.fd, path, limit);
}

/** The whole content of an open file, at most `limit` bytes; `path` is for errors. */
export function readOpenFile(
  fd: Fd,
  path: string,
  limit = 1 << 30,
): Uint8Array<ArrayBuffer> {
  const { kind, size } = status(fd);
  if (kind === "directory") throw new Error(`Could not read '${path}': it is a directory`);
  if (size > limit) {
    throw new Error(`Could not read '${path}': ${size} bytes are more than the limit of ${limit}`);
  }
  const bytes = new Uint8Array(size);
  let done = 0;
  while (done < size) {
    const count = readAt(fd, bytes.subarray(done), done);
    if (count === 0) throw new Error(`Could not read '${path}': it ended after ${done} bytes`);
    done += count;
  }
  return bytes;
}

/** The whole content of a file whose size the kernel does not report, as in /proc; at most 1 MiB. */
export function readFileUnsized(path: string): Uint8Array<ArrayBuffer> {
  using descriptor = openFile(path, OpenFlags.readOnly);
  const bytes = new Uint8Array(1 << 20);
  let done = 0;
  while (done < bytes.length) {
    const count = read(descriptor.fd, bytes.subarray(done)) ?? 0;
    if (count === 0) break;
    done += count;
  }
  return bytes.subarray(0, done);
}

/**
 * Takes a lock on the whole open file, to be held until it is closed everywhere: false if another
 * open file has one that excludes it.
 */
export function lockFile(fd: Fd, kind: "read" | "write"): boolean {
  const F_RDLCK = 0;
  const F_WRLCK = 1;
  const outcome = native.molt_lock(fd, kind === "read" ? F_RDLCK : F_WRLCK, 0n, 0n);
  if (outcome === -Errno.EAGAIN) return false;
  unwrap(outcome, () => `Could not lock descriptor ${fd}`);
  return true;
}

export function unlink(path: string): void {
  unwrap(native.molt_unlink(cString(path)), `Could not remove '${path}'`);
}

/** Renames `from` to `to`, replacing `to`. */
export function rename(from: string, to: string): void {
  unwrap(native.molt_rename(cString(from), cString(to)), `Could not rename '${from}' to '${to}'`);
}

/** Gives an unnamed open file (O_TMPFILE) the name `path`, which must not exist. */
export function link(fd: Fd, path: string): void {
  unwrap(native.molt_link(fd, cString(path)), `Could not create '${path}'`);
}

/** Makes `path` a symbolic link to `target`. */
export function symbolicLink(target: string, path: string): void {
  unwrap(native.molt_symlink(cString(target), cString(path)), `Could not create '${path}'`);
}

/** The target of a symbolic link. */
export function readLink(path: string): string {
  const buffer = new Uint8Array(4096);
  const length = unwrap(
    native.molt_readlink(cString(path), buffer, BigInt(buffer.length)),
    `Could not read the link '${path}'`,
  );
  return new TextDecoder().decode(buffer.subarray(0, length));
}

/** MFD_* flags of memfd_create(2). */
export const MemfdFlags = { allowSealing: 2, hugeTlb: 4 } as const;

/** F_SEAL_* bits of fcntl(2). */
export const Seals = { seal: 1, shrink: 2, grow: 4 } as const;

/**
 * An anonymous file of `size` bytes in memory that is to be mapped. Nobody who gets the descriptor can
 * shrink or grow it, so that no access of who has mapped it ends in SIGBUS; `resizable` leaves that out.
 * `flags`: {@linkcode MemfdFlags}.
 */
export function createMemfd(
  name: string,
  size: number,
  { flags = 0, resizable = false }: { readonly flags?: number; readonly resizable?: boolean } = {},
): Descriptor {
  const descriptor = openMemfd(name, resizable ? flags : flags | MemfdFlags.allowSealing);
  try {
    truncate(descriptor.fd, size);
    if (!resizable) addSeals(descriptor.fd, Seals.seal | Seals.shrink | Seals.grow);
    return descriptor;
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

/** An empty anonymous file in memory that is written and read, never mapped. It can grow, not shrink. */
export function createGrowingMemfd(name: string): Descriptor {
  const descriptor = openMemfd(name, MemfdFlags.allowSealing);
  try {
    addSeals(descriptor.fd, Seals.shrink);
    return descriptor;
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

function openMemfd(name: string, flags: number): Descriptor {
  return new Descriptor(
    unwrap(native.molt_memfd(cString(name), flags), `Could not create the memfd '${name}'`),
  );
}

/** Adds F_SEAL_* `seals` to a memfd that allows it. */
export function addSeals(fd: Fd, seals: number): void {
  unwrap(native.molt_add_seals(fd, seals), "Could not seal a memfd");
}

/** A pipe's reading and writing end. */
export function createPipe(flags = 0): [reader: Descriptor, writer: Descriptor] {
  const ends = new Int32Array(2);
  unwrap(native.molt_pipe(new Uint8Array(ends.buffer), flags), "Could not create a pipe");
  return [new Descriptor(ends[0]!), new Descriptor(ends[1]!)];
}

/** The O_* status flags of an open file. */
export function statusFlags(fd: Fd): number {
  return unwrap(native.molt_get_flags(fd), () => `Could not inspect descriptor ${fd}`);
}

/** Sets those O_* status flags of an open file that can be changed (F_SETFL of fcntl(2)). */
export function setStatusFlags(fd: Fd, flags: number): void {
  unwrap(native.molt_set_flags(fd, flags), () => `Could not change descriptor ${fd}`);
}

/** Makes reads and writes return at once, or wait. */
export function setNonBlocking(fd: Fd, on: boolean): void {
  const flags = statusFlags(fd);
  setStatusFlags(fd, on ? flags | OpenFlags.nonBlocking : flags & ~OpenFlags.nonBlocking);
}

/** Waits off the isolate until the file's data is on stable storage. `name` is for the message. */
export async function dataSync(fd: Fd, name: string): Promise<void> {
  unwrap(await threads.molt_datasync(fd), `Could not write '${name}' to stable storage`);
}

/** Which of `events` (epoll's bits) hold for `fd` now; error and hang-up are always among them. */
export function pollNow(fd: Fd, events: number): number {
  return unwrap(native.molt_poll(fd, events, 0), () => `Could not inspect descriptor ${fd}`);
}

/** Waits off the isolate until a directory's names are on stable storage. */
export async function syncDirectory(path: string): Promise<void> {
  using directory = openFile(path, OpenFlags.readOnly | OpenFlags.directory);
  unwrap(await threads.molt_sync(directory.fd), `Could not write '${path}' to stable storage`);
}

/** Takes (`on`) or drops a shared lock of the open file on the byte at `offset`. False: it is refused. */
export function shareLock(fd: Fd, offset: number, on: boolean): boolean {
  const F_RDLCK = 0;
  const F_UNLCK = 2;
  const outcome = native.molt_lock(fd, on ? F_RDLCK : F_UNLCK, BigInt(offset), 1n);
  if (outcome === -Errno.EAGAIN) return false;
  unwrap(outcome, "Could not lock a file");
  return true;
}

/** Whether another open file has a lock on the byte at `offset`. */
export function lockedByOthers(fd: Fd, offset: number): boolean {
  return unwrap(
    native.molt_lock_conflicts(fd, BigInt(offset), 1n),
    "Could not look at a file's locks",
  ) === 1;
}
