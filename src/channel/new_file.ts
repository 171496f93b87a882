/**
 * Files that migrations write to, which never show half of a migration under their name:
 *
 *   no such file   the bytes go to an unnamed file in the same directory (O_TMPFILE), or where the file
 *                  system has none, to one with a temporary name. It gets the name when it is complete
 *                  and on stable storage; a migration that fails leaves nothing behind
 *   it exists      it is emptied and overwritten in place, as QEMU does: it may be a block device, or
 *                  somebody may hold it open or have put something before the migration's offset
 */
import type { Descriptor } from "../native/descriptor.ts";
import { Errno, SystemError } from "../native/errors.ts";
import {
  link,
  openFile,
  OpenFlags,
  readLink,
  rename,
  status,
  syncDirectory,
  truncate,
  unlink,
} from "../native/file.ts";
import { processId } from "../native/process.ts";

/** Read and write by the owner, as QEMU creates migration files. */
const MODE = 0o600;

/** A file being written. Disposal closes it, and removes it unless it was kept. */
export interface NewFile extends Disposable {
  readonly descriptor: Descriptor;
  /** Gives a complete file its name, if it has none yet, and makes the name durable. */
  keep(): Promise<void>;
}

/** Opens `path` for a migration that is written from `offset` on. What was there before stays there. */
export function openNewFile(path: string, offset: number): NewFile {
  try {
    if (path === "") throw new SystemError("Could not create ''", Errno.ENOENT);
    const target = followLinks(path);
    return openExisting(target, offset) ?? createUnnamed(target) ?? createHidden(target);
  } catch (error) {
    if (error instanceof SystemError) {
      throw new SystemError(`Could not create '${path}'`, error.errno, { cause: error });
    }
    throw error;
  }
}

/** An existing file that the caller opened: nothing remains to be done when it is complete. */
export function asNewFile(descriptor: Descriptor): NewFile {
  return {
    descriptor,
    keep: () => Promise.resolve(),
    [Symbol.dispose]: () => descriptor[Symbol.dispose](),
  };
}

/** Drops what `descriptor` holds from `offset` on. Block devices have nothing to drop. */
export function emptyFrom(descriptor: Descriptor, offset: number): void {
  const { kind } = status(descriptor.fd);
  if (kind === "block") return;
  try {
    truncate(descriptor.fd, offset);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const attempt = `failed to truncate migration file to offset ${offset.toString(16)}`;
    throw new Error(new SystemError(attempt, error.errno).message, { cause: error });
  }
}

function openExisting(path: string, offset: number): NewFile | undefined {
  let descriptor: Descriptor;
  try {
    // Non-blocking: opening a FIFO that nobody reads would wait for ever.
    descriptor = openFile(path, OpenFlags.writeOnly | OpenFlags.nonBlocking);
  } catch (error) {
    if (error instanceof SystemError && error.errno === Errno.ENOENT) return undefined;
    throw error;
  }
  try {
    emptyFrom(descriptor, offset);
    return asNewFile(descriptor);
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

/** Errors by which kernels and file systems say that they have no O_TMPFILE. */
const noUnnamedFiles: readonly number[] = [
  Errno.EOPNOTSUPP,
  Errno.EISDIR,
  Errno.ENOENT,
  Errno.EINVAL,
];

function createUnnamed(path: string): NewFile | undefined {
  let descriptor: Descriptor;
  try {
    descriptor = openFile(directoryOf(path), OpenFlags.writeOnly | OpenFlags.temporary, MODE);
  } catch (error) {
    if (error instanceof SystemError && noUnnamedFiles.includes(error.errno)) return undefined;
    throw error;
  }
  return {
    descriptor,
    keep: async () => {
      nameFile(descriptor, path);
      await syncDirectory(directoryOf(path));
    },
    [Symbol.dispose]: () => descriptor[Symbol.dispose](),
  };
}

/** A file under a hidden name in the same folder, for file systems without O_TMPFILE. */
export function createHidden(path: string): NewFile {
  const hidden = hiddenName(path);
  const descriptor = openFile(
    hidden,
    OpenFlags.writeOnly | OpenFlags.create | OpenFlags.exclusive,
    MODE,
  );
  let kept = false;
  return {
    descriptor,
    keep: async () => {
      rename(hidden, path);
      kept = true;
      await syncDirectory(directoryOf(path));
    },
    [Symbol.dispose]: () => {
      descriptor[Symbol.dispose]();
      if (!kept) unlink(hidden);
    },
  };
}

/** Links the unnamed file to `path`. A file that appeared there meanwhile is replaced as a whole. */
function nameFile(descriptor: Descriptor, path: string): void {
  try {
    link(descriptor.fd, path);
  } catch (error) {
    if (!(error instanceof SystemError) || error.errno !== Errno.EEXIST) throw error;
    const hidden = hiddenName(path);
    link(descriptor.fd, hidden);
    rename(hidden, path);
  }
}

/** Most links that are followed from one to the next. */
const LINKS = 40;

/** Where a symbolic link to a file that does not exist leads: the name is to be given there. */
function followLinks(path: string): string {
  for (let count = 0; count < LINKS; count++) {
    let target: string;
    try {
      target = readLink(path);
    } catch {
      return path;
    }
    path = target.startsWith("/") ? target : `${directoryOf(path)}/${target}`;
  }
  return path;
}

function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, Math.max(slash, 1));
}

function hiddenName(path: string): string {
  const slash = path.lastIndexOf("/");
  return `${path.slice(0, slash + 1)}.${path.slice(slash + 1)}.${processId()}`;
}
