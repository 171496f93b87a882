/**
 * Descriptors that monitors received for others to use: by name (getfd), and in sets (add-fd), whose
 * members /dev/fdset/N stands for where a path is expected.
 */
import { asFd, Descriptor, type Fd, isInherited, setCloseOnExec } from "../native/descriptor.ts";
import { OpenFlags, statusFlags } from "../native/file.ts";

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
}

/** O_ACCMODE, the flags that say whether a descriptor reads, writes or both, and O_DIRECT. */
const ACCESS_MODE = 3 | OpenFlags.direct;

/** Keeps the descriptors until somebody takes, closes or removes them. */
export class DescriptorStore implements Disposable {
  readonly #named = new Map<string, Descriptor>();
  readonly #sets = new Map<number, OwnedMember[]>();

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
  ): { id: number; fd: Fd } {
    const chosen = id ?? this.#freeSet();
    const members = this.#sets.get(chosen) ?? [];
    members.push({ descriptor, opaque });
    this.#sets.set(chosen, members);
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
  }

  /** Closes the member `fd` of set `id`, or all of the set. */
  removeFromSet(id: number, fd?: number): void {
    const members = this.#sets.get(id) ?? [];
    const going = members.filter(({ descriptor }) => fd === undefined || descriptor.fd === fd);
    if (going.length === 0) {
      const place = fd === undefined ? `fdset-id:${id}` : `fdset-id:${id}, fd:${fd}`;
      throw new DescriptorStoreError(`File descriptor named '${place}' not found`);
    }
    for (const { descriptor } of going) descriptor[Symbol.dispose]();
    const staying = members.filter((member) => !going.includes(member));
    if (staying.length > 0) this.#sets.set(id, staying);
    else this.#sets.delete(id);
  }

  /** All sets, in the order of their numbers. */
  listSets(): DescriptorSet[] {
    return [...this.#sets].sort(([a], [b]) => a - b).map(([id, members]) => ({
      id,
      members: members.map(({ descriptor, opaque }) => ({ fd: descriptor.fd, opaque })),
    }));
  }

  /**
   * A duplicate of the member of set `id` that was opened for the access that `flags` (O_*) ask for,
   * with O_DIRECT or without.
   */
  openFromSet(id: number, flags: number): Descriptor {
    const members = this.#sets.get(id);
    if (members === undefined) {
      throw new DescriptorStoreError(`File descriptor set ${id} not found`);
    }
    const fitting = members.find(({ descriptor }) =>
      (statusFlags(descriptor.fd) & ACCESS_MODE) === (flags & ACCESS_MODE)
    );
    if (fitting === undefined) {
      const wanted = flags & (ACCESS_MODE | OpenFlags.create);
      throw new DescriptorStoreError(
        `Failed to find file descriptor with matching flags=0x${wanted.toString(16)}`,
      );
    }
    return fitting.descriptor.duplicate();
  }

  /** What a successor needs beside {@linkcode descriptors}. */
  save(): SavedDescriptors {
    return {
      named: [...this.#named.keys()],
      sets: Array.from(this.#sets, ([id, members]) => ({
        id,
        members: members.map(({ opaque }) => opaque ?? null),
      })),
    };
  }

  /** All descriptors under the names that find them again in a successor. */
  descriptors(): { name: string; id: number; fd: Fd }[] {
    const members = [...this.#sets.values()].flat();
    return [
      ...Array.from(this.#named.values(), ({ fd }, id) => ({ name: "getfd", id, fd })),
      ...members.map(({ descriptor: { fd } }, id) => ({ name: "fdset", id, fd })),
    ];
  }

  /** Takes over what a predecessor has saved. What it has not handed over is left out. */
  restore(
    saved: unknown,
    adopt: (name: string, id: number) => Descriptor | undefined,
  ): void {
    if (!isSaved(saved)) return;
    saved.named.forEach((name, id) => {
      const descriptor = adopt("getfd", id);
      if (descriptor !== undefined) this.setNamed(name, descriptor);
    });
    let next = 0;
    for (const { id, members } of saved.sets) {
      for (const opaque of members) {
        const descriptor = adopt("fdset", next++);
        if (descriptor !== undefined) this.addToSet(id, descriptor, opaque ?? undefined);
      }
    }
  }

  [Symbol.dispose](): void {
    for (const descriptor of this.#named.values()) descriptor[Symbol.dispose]();
    for (const members of this.#sets.values()) {
      for (const { descriptor } of members) descriptor[Symbol.dispose]();
    }
    this.#named.clear();
    this.#sets.clear();
  }

  #freeSet(): number {
    let id = 0;
    while (this.#sets.has(id)) id++;
    return id;
  }
}
