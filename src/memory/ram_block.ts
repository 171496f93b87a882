/** RAM blocks: the pieces of memory that a migration names and moves. */
import { createMemfd, status } from "../native/file.ts";
import type { Descriptor } from "../native/descriptor.ts";
import { Mapping } from "../native/mapping.ts";

/** 4 KiB: the unit of migration and dirty tracking on x86. */
export const PAGE_SIZE = 4096;

/** What backs a block, as far as a live update cares. */
export type RamBacking =
  /** Memory of this process alone: it ends with the process. */
  | { readonly kind: "private" }
  /** An unnamed file (memfd, unlinked shm) that lives as long as somebody holds its descriptor. */
  | { readonly kind: "descriptor"; readonly descriptor: Descriptor }
  /** A file with a name, mapped shared: whoever opens the path finds the memory. */
  | {
    readonly kind: "path";
    readonly path: string;
    readonly descriptor: Descriptor;
    /** Where the memory starts in the file, in bytes. */
    readonly offset: number;
    /** The file was new or empty when it was opened: it holds no guest's memory. */
    readonly created: boolean;
  }
  /** A file mapped privately: writes stay in this process. */
  | { readonly kind: "private file"; readonly path: string; readonly descriptor: Descriptor };

/** One block. Its name is its identity in streams and in CPR state. */
export class RamBlock implements Disposable {
  readonly name: string;
  readonly backing: RamBacking;
  readonly mapping: Mapping;
  /** Host page size of the mapping in bytes (larger with hugetlb). */
  readonly pageSize: number;
  /** Set for blocks whose used length may change by migration (ACPI tables). */
  readonly resizable: boolean;
  /** -object backend that gave the memory, for messages. */
  readonly backendId: string | undefined;
  #usedLength: number;

  constructor(options: {
    readonly name: string;
    readonly backing: RamBacking;
    readonly mapping: Mapping;
    readonly usedLength?: number;
    readonly pageSize?: number;
    readonly resizable?: boolean;
    readonly backendId?: string;
  }) {
    this.name = options.name;
    this.backing = options.backing;
    this.mapping = options.mapping;
    this.pageSize = options.pageSize ?? PAGE_SIZE;
    this.resizable = options.resizable ?? false;
    this.backendId = options.backendId;
    this.#usedLength = options.usedLength ?? options.mapping.size;
  }

  /** Bytes in use, a multiple of the page size. */
  get usedLength(): number {
    return this.#usedLength;
  }

  /** Bytes mapped. */
  get maximumLength(): number {
    return this.mapping.size;
  }

  /** True if another process that maps the backing sees the same memory. */
  get shared(): boolean {
    return this.backing.kind === "descriptor" || this.backing.kind === "path";
  }

  /** Changes the length of a resizable block. Throws for a fixed one. */
  resize(length: number): void {
    if (length === this.#usedLength) return;
    const hex = (value: number) => `0x${value.toString(16)}`;
    if (!this.resizable || length > this.maximumLength || length % PAGE_SIZE !== 0) {
      throw new Error(
        `Size mismatch: ${this.name}: ${hex(length)} != ${hex(this.#usedLength)}: Invalid argument`,
      );
    }
    this.#usedLength = length;
  }

  [Symbol.dispose](): void {
    this.mapping[Symbol.dispose]();
    if (this.backing.kind !== "private") this.backing.descriptor[Symbol.dispose]();
  }
}

/** How {@linkcode createAuxiliaryBlock} makes a block. */
export interface AuxiliaryBlockOptions {
  readonly name: string;
  readonly usedLength: number;
  readonly maximumLength: number;
  readonly resizable?: boolean;
  /** Back it with a memfd so that it survives a live update (-machine aux-ram-share=on). */
  readonly share: boolean;
  /** A descriptor received from the process before. */
  readonly adopted: Descriptor | undefined;
}

/** A block that the machine makes for itself, besides the guest's RAM: firmware, ACPI tables. */
export function createAuxiliaryBlock(options: AuxiliaryBlockOptions): RamBlock {
  const { name, maximumLength } = options;
  const common = {
    name,
    usedLength: options.usedLength,
    resizable: options.resizable ?? false,
  };
  if (!options.share && options.adopted === undefined) {
    const mapping = new Mapping({ kind: "anonymous" }, maximumLength, name);
    return new RamBlock({ ...common, backing: { kind: "private" }, mapping });
  }
  const descriptor = options.adopted ?? createMemfd(name, maximumLength);
  checkAdoptedSize(name, descriptor, maximumLength);
  const mapping = new Mapping(
    { kind: "file", fd: descriptor.fd, offset: 0, shared: true },
    maximumLength,
    name,
  );
  return new RamBlock({ ...common, backing: { kind: "descriptor", descriptor }, mapping });
}

/** Memory beyond its file's end is lost: refuses a file that is too small. */
export function checkAdoptedSize(name: string, descriptor: Descriptor, size: number): void {
  const actual = status(descriptor.fd).size;
  if (actual < size) {
    throw new Error(`The memory '${name}' has ${actual} bytes, this machine needs ${size}`);
  }
}
