/**
 * Descriptors that monitors, or whoever started the process, gave for others to use: by name (getfd), and in
 * sets (add-fd, -add-fd), whose members /dev/fdset/N stands for where a path is expected.
 */
import { asFd, Descriptor, type Fd, isInherited, setCloseOnExec } from "../native/descriptor.ts";
import { Errno, SystemError } from "../native/errors.ts";
import {
  openFile,
  OpenFlags,
  type OpenPath,
  seek,
  setStatusFlags,
  statusFlags,
  truncate,
} from "../native/file.ts";
import { descriptorSet, DescriptorSetError } from "../native/descriptor_path.ts";

/** A descriptor that is not there, or a name that cannot be. */
export class DescriptorStoreError extends Error {
  override readonly name = "DescriptorStoreError";
}

/** A member of a set as query-fdsets shows it. */
export interface SetMember {
  readonly fd: Fd;
  readonly opaque: string | undefined;
}

/** A set as query-fdsets shows it. */
export interface DescriptorSet {
  readonly id: number;
  readonly members: readonly SetMember[];
}

/** The names, and each set's members by what was said of them: for a successor, as JSON. */
export interface SavedDescriptors {
  readonly named: readonly string[];
  readonly sets: readonly {
    readonly id: number;
    readonly members: readonly (string | null)[];
  }[];
}

function isSaved(value: unknown): value is SavedDescriptors {
  if (typeof value !== "object" || value === null) return false;
  const { named, sets }: { named?: unknown; sets?: unknown } = value;
  return Array.isArray(named) && named.every((name) => typeof name === "string") &&
    Array.isArray(sets) && sets.every(isSavedSet);
}

function isSavedSet(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { id, members }: { id?: unknown; members?: unknown } = value;
  return typeof id === "number" && Array.isArray(members) &&
    members.every((opaque) => opaque === null || typeof opaque === "string");
}

interface OwnedMember {
  readonly descriptor: Descriptor;
  readonly opaque: string | undefined;
  /** A predecessor had it. */
  readonly restored: boolean;
}

/** A set. It is there for as long as it has members, or one of the duplicates of those it had is open. */
interface OwnedSet {
  members: OwnedMember[];
  duplicates: Descriptor[];
  /** Whoever started this process gave members of it. */
  inherited: boolean;
}

/** O_ACCMODE, the flags that say whether a descriptor reads, writes or both, and O_DIRECT. */
const ACCESS_MODE = 3 | OpenFlags.direct;

/** Keeps the descriptors until somebody takes, closes or removes them. */
export class DescriptorStore implements Disposable {
  readonly #named = new Map<string, Descriptor>();
  readonly #sets = new Map<number, OwnedSet>();

  /** Gives `descriptor` a name. What had the name before is closed. */
  setNamed(name: string, descriptor: Descriptor): void {
    if (/^[0-9]/.test(name)) {
      descriptor[Symbol.dispose]();
      throw new DescriptorStoreError("Parameter 'fdname' expects a name not starting with a digit");
    }
    this.#named.get(name)?.[Symbol.dispose]();
    this.#named.set(name, descriptor);
  }

  /** Closes the descriptor `name`. */
  closeNamed(name: string): void {
    const descriptor = this.takeNamed(name);
    if (descriptor === undefined) {
      throw new DescriptorStoreError(`File descriptor named '${name}' not found`);
    }
    descriptor[Symbol.dispose]();
  }

  /** The descriptor `name`, now the caller's and nameless; `undefined` if there is none. */
  takeNamed(name: string): Descriptor | undefined {
    const descriptor = this.#named.get(name);
    this.#named.delete(name);
    return descriptor;
  }

  /** Adds a descriptor to set `id`, or to a new one with the lowest free number. */
  addToSet(
    id: number | undefined,
    descriptor: Descriptor,
    opaque: string | undefined,
    restored = false,
  ): { id: number; fd: Fd } {
    this.#dropUnused();
    const chosen = id ?? this.#freeSet();
    const set = this.#sets.get(chosen) ?? { members: [], duplicates: [], inherited: false };
    set.members.push({ descriptor, opaque, restored });
    this.#sets.set(chosen, set);
    return { id: chosen, fd: descriptor.fd };
  }

  /** Takes over the descriptor `fd` that this process inherited, for set `id` (-add-fd). */
  addInherited(fd: number, id: number, opaque: string | undefined): void {
    if (!isInherited(fd)) {
      throw new DescriptorStoreError(
        `-add-fd fd=${fd},set=${id}: fd is not valid or already in use`,
      );
    }
    setCloseOnExec(asFd(fd), true);
    this.addToSet(id, new Descriptor(fd), opaque);
    const set = this.#sets.get(id);
    if (set !== undefined) set.inherited = true;
  }

  /** Closes the member `fd` of set `id`, or all of the set. Duplicates stay open. */
  removeFromSet(id: number, fd?: number): void {
    this.#dropUnused();
    const set = this.#sets.get(id);
    const isMeant = ({ descriptor }: OwnedMember) => fd === undefined || descriptor.fd === fd;
    const closing = set?.members.filter(isMeant) ?? [];
    if (set === undefined || fd !== undefined && closing.length === 0) {
      const place = fd === undefined ? `fdset-id:${id}` : `fdset-id:${id}, fd:${fd}`;
      throw new DescriptorStoreError(`File descriptor named '${place}' not found`);
    }
    for (const { descriptor } of closing) descriptor[Symbol.dispose]();
    set.members = set.members.filter((member) => !closing.includes(member));
    this.#dropUnused();
  }

  /** All sets in QEMU's order: the highest number first. */
  listSets(): DescriptorSet[] {
    this.#dropUnused();
    return [...this.#sets].sort(([a], [b]) => b - a).map(([id, { members }]) => ({
      id,
      members: members.map(({ descriptor, opaque }) => ({ fd: descriptor.fd, opaque })),
    }));
  }

  /**
   * Opens `path` with O_* `flags`. Of a set it is a duplicate of the first member that was opened for the
   * access that `flags` ask for, with O_DIRECT or without; as in QEMU that member is emptied if they ask
   * for it, and writes at its end or not. Throws a SystemError.
   */
  readonly openPath: OpenPath = (path, flags, mode) => {
    const id = descriptorSet(path);
    if (id === undefined) return openFile(path, flags, mode);
    this.#dropUnused();
    const set = this.#sets.get(id);
    if (set === undefined) {
      throw new DescriptorSetError(`Failed to find fdset ${path}`, Errno.ENOENT);
    }
    const member = set.members.find(({ descriptor }) =>
      (statusFlags(descriptor.fd) & ACCESS_MODE) === (flags & ACCESS_MODE)
    );
    if (member === undefined) {
      throw new DescriptorSetError(
        `Failed to find file descriptor with matching flags=0x${flags.toString(16)}`,
        Errno.EACCES,
      );
    }
    const duplicate = duplicateAs(member.descriptor, flags);
    set.duplicates.push(duplicate);
    return duplicate;
  };

  /**
   * What a successor needs beside {@linkcode descriptors}: sets, and with `named` what monitors' clients gave
   * by name, too.
   */
  save({ named }: { readonly named: boolean }): SavedDescriptors {
    return {
      named: named ? [...this.#named.keys()] : [],
      sets: Array.from(this.#sets, ([id, { members }]) => ({
        id,
        members: members.map(({ opaque }) => opaque ?? null),
      })),
    };
  }

  /** The descriptors of {@linkcode save} under the names that find them again in a successor. */
  descriptors({ named }: { readonly named: boolean }): { name: string; id: number; fd: Fd }[] {
    const members = [...this.#sets.values()].flatMap((set) => set.members);
    const names = named ? [...this.#named.values()] : [];
    return [
      ...names.map(({ fd }, id) => ({ name: "getfd", id, fd })),
      ...members.map(({ descriptor: { fd } }, id) => ({ name: "fdset", id, fd })),
    ];
  }

  /**
   * Takes over what a predecessor has saved, in place of what an earlier one has, which kept its guest. What
   * it has not handed over is left out, and so are sets of which this process was given members when it was
   * started.
   */
  restore(
    saved: unknown,
    adopt: (name: string, id: number) => Descriptor | undefined,
  ): void {
    if (!isSaved(saved)) return;
    saved.named.forEach((name, id) => {
      const descriptor = adopt("getfd", id);
      if (descriptor !== undefined) this.setNamed(name, descriptor);
    });
    for (const set of this.#sets.values()) {
      const before = set.members.filter(({ restored }) => restored);
      set.members = set.members.filter(({ restored }) => !restored);
      for (const { descriptor } of before) descriptor[Symbol.dispose]();
    }
    this.#dropUnused();
    let next = 0;
    for (const { id, members } of saved.sets) {
      const own = this.#sets.get(id)?.inherited === true;
      for (const opaque of members) {
        const descriptor = adopt("fdset", next++);
        if (descriptor === undefined) continue;
        if (own) descriptor[Symbol.dispose]();
        else this.addToSet(id, descriptor, opaque ?? undefined, true);
      }
    }
  }

  [Symbol.dispose](): void {
    for (const descriptor of this.#named.values()) descriptor[Symbol.dispose]();
    for (const { members } of this.#sets.values()) {
      for (const { descriptor } of members) descriptor[Symbol.dispose]();
    }
    this.#named.clear();
    this.#sets.clear();
  }

  /** Forgets duplicates that were closed, and sets of which nothing is left. */
  #dropUnused(): void {
    for (const [id, set] of this.#sets) {
      set.duplicates = set.duplicates.filter(({ closed }) => !closed);
      if (set.members.length === 0 && set.duplicates.length === 0) this.#sets.delete(id);
    }
  }

  #freeSet(): number {
    let id = 0;
    while (this.#sets.has(id)) id++;
    return id;
  }
}

/** A duplicate of a set's member that is as `flags` would have it opened. */
function duplicateAs(member: Descriptor, flags: number): Descriptor {
  const duplicate = member.duplicate();
  try {
    const { append, nonBlocking } = OpenFlags;
    const now = statusFlags(member.fd);
    // Others may rely on its not waiting: that stays.
    const wanted = (now & ~append) | (flags & (append | nonBlocking));
    if (wanted !== now) setStatusFlags(member.fd, wanted);
    if (flags & OpenFlags.truncate) {
      truncate(member.fd, 0);
      seek(member.fd, 0);
    }
    return duplicate;
  } catch (error) {
    duplicate[Symbol.dispose]();
    if (!(error instanceof SystemError)) throw error;
    throw new DescriptorSetError(
      `Failed to dup() given file descriptor fd=${member.fd}`,
      error.errno,
    );
  }
}
