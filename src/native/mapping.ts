/** Memory mapped into this process. */
import { native } from "./library.ts";
import { reportFault } from "./faults.ts";
import { SystemError, unwrap } from "./errors.ts";
import { MemoryGuard } from "./memory_guard.ts";
import type { Fd } from "./descriptor.ts";
import { detachMemory, Lifetime, memoryAt } from "./handle.ts";

const PAGE_SIZE = 4096;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;

/** What a mapping shows. */
export type MappingSource =
  /** Fresh zeroed memory of this process alone. */
  | { readonly kind: "anonymous" }
  /** A file or memfd; with `shared` false, writes stay in this process (copy on write). */
  | {
    readonly kind: "file";
    readonly fd: Fd;
    readonly offset: number;
    readonly shared: boolean;
    /** Bytes, if the file is of huge pages. */
    readonly pageSize?: number;
  };

/** MADV_* advice of madvise(2). */
export const Advice = {
  /** Gives pages back; they read as zeros (anonymous) or as the file afterwards. */
  dontNeed: 4,
  /** Frees the pages of a shared file mapping: punches a hole. */
  remove: 9,
  mergeable: 12,
  hugePage: 14,
  dontDump: 16,
  /** Allocates all pages now (Linux 5.14). */
  populateWrite: 23,
} as const;

/**
 * A readable and writable mapping, unmapped when disposed, or when the last call on another thread that
 * uses it has ended. Its bytes, and all views on them, are empty then.
 */
export class Mapping implements Disposable {
  /** Length in bytes. */
  readonly size: number;
  /** The memory itself, not a copy. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #guard: MemoryGuard | undefined;
  readonly #address: bigint;
  readonly #life: Lifetime;

  /** Maps `size` bytes. `name` is for the error message. */
  constructor(source: MappingSource, size: number, name: string) {
    const anonymous = source.kind === "anonymous";
    const flags = anonymous
      ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
      : source.shared
      ? MAP_SHARED
      : MAP_PRIVATE | MAP_NORESERVE;
    const address = unwrap(
      native.molt_map(
        BigInt(size),
        PROT_READ | PROT_WRITE,
        flags,
        anonymous ? -1 : source.fd,
        anonymous ? 0n : BigInt(source.offset),
      ),
      `Could not map ${size} bytes of ${name}`,
    );
    this.#address = BigInt(address);
    this.size = size;
    try {
      // What is in a file may be taken away by who else has the file.
      this.#guard = anonymous
        ? undefined
        : new MemoryGuard(this.#address, size, source.pageSize ?? PAGE_SIZE);
    } catch (error) {
      native.molt_unmap(this.#address, BigInt(size));
      throw error;
    }
    const memory = memoryAt(address, size);
    this.bytes = new Uint8Array(memory);
    this.#life = new Lifetime(name, () => {
      detachMemory(memory);
      this.#guard?.[Symbol.dispose]();
      // Who ends has no use for an error: the memory stays mapped, and nobody can reach it.
      const outcome = native.molt_unmap(this.#address, BigInt(size));
      if (outcome < 0) reportFault(new SystemError(`Could not unmap ${name}`, -outcome));
    });
  }

  /** Host virtual address. */
  get address(): bigint {
    this.#life.check();
    return this.#address;
  }

  /** Keeps it mapped while a call on another thread uses it. */
  hold(): Disposable {
    return this.#life.hold();
  }

  /** Some of a file's memory was taken away: zeros have taken its place. */
  get lost(): boolean {
    this.#life.check();
    return this.#guard?.lost ?? false;
  }

  /** Gives the kernel {@linkcode Advice} on a range. */
  advise(advice: number, offset = 0, length = this.size): void {
    unwrap(
      native.molt_advise(this.address + BigInt(offset), BigInt(length), advice),
      `Could not advise on ${length} bytes of memory`,
    );
  }

  [Symbol.dispose](): void {
    this.#life[Symbol.dispose]();
  }
}
