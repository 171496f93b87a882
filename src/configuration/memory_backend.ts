/** Memory backends: what -object memory-backend-* asks for. */

/** What every kind of backend may ask for. */
export interface CommonBackendOptions {
  /** The object's id: the block's name in streams. */
  readonly id: string;
  /** Bytes. */
  readonly size: number;
  /** Allocate all pages before the guest starts. */
  readonly prealloc?: boolean;
  /** Let the host merge equal pages (KSM). */
  readonly merge?: boolean;
  /** Include the memory in the host's core dumps. */
  readonly dump?: boolean;
}

/** A memory backend. */
export type MemoryBackendOptions =
  /** memory-backend-ram: anonymous memory; shared: an unnamed memfd. */
  | CommonBackendOptions & { readonly kind: "ram"; readonly share: boolean }
  /** memory-backend-memfd. */
  | CommonBackendOptions & {
    readonly kind: "memfd";
    readonly share: boolean;
    readonly seal: boolean;
    /** Huge page size in bytes; 0 means the host's default. Absent: normal pages. */
    readonly hugePageSize?: number;
  }
  /** memory-backend-file: `path` is a file or a directory for an unnamed one. */
  | CommonBackendOptions & {
    readonly kind: "file";
    readonly share: boolean;
    readonly path: string;
    /** Start of the memory in the file. */
    readonly offset: number;
    readonly readOnly: boolean;
    readonly discardData: boolean;
  }
  /** memory-backend-shm: unlinked POSIX shared memory. */
  | CommonBackendOptions & { readonly kind: "shm" };
