/**
 * Files under names that clients know: listening sockets and the pid file. Who made one removes it, unless
 * somebody has replaced it, and it may get another name meanwhile.
 */
import { Errno, SystemError } from "../native/errors.ts";
import { readLink, rename, statusOfPath, unlink } from "../native/file.ts";

/** All that this process has. */
const files = new Set<OwnFile>();

/**
 * Which file a path names. Takes no descriptor: it is asked at the end, too, when there may be none. Throws a
 * SystemError if nothing is there.
 */
function identify(path: string): string {
  const { device, inode } = statusOfPath(path);
  return `${device}:${inode}`;
}

/** As {@linkcode identify}; `undefined` if nothing is there. */
export function identityAt(path: string): string | undefined {
  try {
    return identify(path);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return undefined;
  }
}

/** The path from the root on: the process may change its folder. */
export function absolutePath(path: string): string {
  return path.startsWith("/") ? path : `${readLink("/proc/self/cwd")}/${path}`;
}

const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/") + 1);

/** Spells `to` relative to a folder if `path`, which names `place`, is, and both are in the same folder. */
function spellAlike(path: string, place: string, to: string): string {
  if (folderOf(place) !== folderOf(to)) return to;
  return folderOf(path) + to.slice(folderOf(to).length);
}

/** A file that this process made. */
export class OwnFile implements Disposable {
  readonly #identity: string;
  readonly #renamed: (path: string) => void;
  #path: string;
  #place: string;

  private constructor(path: string, identity: string, renamed: (path: string) => void) {
    this.#path = path;
    this.#place = absolutePath(path);
    this.#identity = identity;
    this.#renamed = renamed;
    files.add(this);
  }

  /**
   * What is at `path`; `undefined` if nothing is there by now. `renamed` is called with each new name.
   */
  static at(path: string, renamed: (path: string) => void = () => {}): OwnFile | undefined {
    const identity = identityAt(path);
    return identity === undefined ? undefined : new OwnFile(path, identity, renamed);
  }

  /** What has just been made at `path`; removes it again if it cannot be looked at. */
  static made(path: string, renamed: (path: string) => void = () => {}): OwnFile {
    try {
      return new OwnFile(path, identify(path), renamed);
    } catch (error) {
      unlink(path);
      throw error;
    }
  }

  /** The file that `path` names, as an option spelled it or from the root on. */
  static find(path: string): OwnFile | undefined {
    const all = [...files];
    return all.find((file) => file.#path === path) ??
      all.find((file) => file.#place === absolutePath(path));
  }

  /** The name, as the option spelled it that it comes from. */
  get path(): string {
    return this.#path;
  }

  /** Gives the file another name, in place of whatever has that one. Throws a SystemError. */
  rename(path: string): void {
    const place = absolutePath(path);
    rename(this.#place, place);
    const before = this.#path;
    this.#path = spellAlike(before, this.#place, place);
    this.#place = place;
    this.#renamed(this.#path);
  }

  /** The file is another process's: its name stays. */
  leave(): void {
    files.delete(this);
  }

  /** Removes the file, unless somebody has replaced or removed it. Throws a SystemError if it stays. */
  [Symbol.dispose](): void {
    if (!files.delete(this)) return;
    try {
      if (identify(this.#place) === this.#identity) unlink(this.#place);
    } catch (error) {
      if (!(error instanceof SystemError && error.errno === Errno.ENOENT)) throw error;
    }
  }
}
