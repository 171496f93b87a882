/** Memory backends: what -object memory-backend-* asks for, as RAM blocks. */
import {
  createMemfd,
  MemfdFlags,
  openFile,
  OpenFlags,
  type OpenPath,
  pathKind,
  status,
  truncate,
  unlink,
} from "../native/file.ts";
import type {
  CommonBackendOptions,
  MemoryBackendOptions,
} from "../configuration/memory_backend.ts";
import { processId } from "../native/process.ts";
import { Errno, SystemError } from "../native/errors.ts";
import { Descriptor } from "../native/descriptor.ts";
import { Advice, Mapping } from "../native/mapping.ts";
import { checkAdoptedSize, PAGE_SIZE, RamBlock } from "./ram_block.ts";

/** The host's default huge page size on x86-64. */
const DEFAULT_HUGE_PAGE = 2 << 20;

/**
 * Creates the memory, or takes over the descriptor `adopted` that a process before this one
 * created for the same backend.
 */
export function createMemoryBackend(
  options: MemoryBackendOptions,
  adopted: Descriptor | undefined,
  openPath: OpenPath = openFile,
): RamBlock {
  using undo = new DisposableStack();
  if (options.kind === "file" && adopted === undefined && pathKind(options.path) === undefined) {
    undo.defer(() => removeFile(options.path));
  }
  const block = create(options, adopted, openPath);
  try {
    if (options.merge) block.mapping.advise(Advice.mergeable);
    if (options.dump === false) block.mapping.advise(Advice.dontDump);
    if (options.prealloc) preallocate(block, options);
    undo.move();
    return block;
  } catch (error) {
    block[Symbol.dispose]();
    throw error;
  }
}

/** Removes the file that a start which fails has made: another one, of another size, is not to meet it. */
function removeFile(path: string): void {
  try {
    unlink(path);
  } catch (error) {
    if (!(error instanceof SystemError && error.errno === Errno.ENOENT)) throw error;
  }
}

/** Allocates all pages. The kernel says EFAULT where there is no room (madvise(2)). */
function preallocate({ mapping }: RamBlock, options: MemoryBackendOptions): void {
  try {
    mapping.advise(Advice.populateWrite);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const { errno } = error;
    const noRoom = options.kind === "file" ? Errno.ENOSPC : Errno.ENOMEM;
    const place = options.kind === "file" ? `'${options.path}'` : `RAM '${options.id}'`;
    throw new SystemError(
      `Could not preallocate ${options.size} bytes of ${place}`,
      errno === Errno.EFAULT ? noRoom : errno,
    );
  }
}

function create(
  options: MemoryBackendOptions,
  adopted: Descriptor | undefined,
  openPath: OpenPath,
): RamBlock {
  switch (options.kind) {
    case "ram":
      if (!options.share) return privateBlock(options);
      return descriptorBlock(
        options,
        adopted ?? createMemfd("memory-backend-ram", options.size),
      );
    case "memfd": {
      const descriptor = adopted ?? createBackendMemfd(options);
      const pageSize = options.hugePageSize === undefined
        ? PAGE_SIZE
        : options.hugePageSize || DEFAULT_HUGE_PAGE;
      return descriptorBlock(options, descriptor, options.share, pageSize);
    }
    case "shm":
      return descriptorBlock(options, adopted ?? createUnlinkedShm(options));
    case "file":
      return fileBlock(options, adopted, openPath);
  }
}

function privateBlock(options: CommonBackendOptions): RamBlock {
  const mapping = new Mapping({ kind: "anonymous" }, options.size, `RAM '${options.id}'`);
  return new RamBlock({
    name: options.id,
    backendId: options.id,
    backing: { kind: "private" },
    mapping,
  });
}

function descriptorBlock(
  options: CommonBackendOptions,
  descriptor: Descriptor,
  shared = true,
  pageSize = PAGE_SIZE,
): RamBlock {
  try {
    checkAdoptedSize(options.id, descriptor, options.size);
    const mapping = new Mapping(
      { kind: "file", fd: descriptor.fd, offset: 0, shared, pageSize },
      options.size,
      `RAM '${options.id}'`,
    );
    return new RamBlock({
      name: options.id,
      backendId: options.id,
      backing: shared
        ? { kind: "descriptor", descriptor }
        : { kind: "private file", path: options.id, descriptor },
      mapping,
      pageSize,
    });
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

function createBackendMemfd(options: MemoryBackendOptions & { kind: "memfd" }): Descriptor {
  let flags = 0;
  if (options.hugePageSize !== undefined) {
    // Bits 26 and up of the flags hold the logarithm of the page size (MFD_HUGE_SHIFT).
    flags |= MemfdFlags.hugeTlb | (options.hugePageSize && Math.log2(options.hugePageSize) << 26);
  }
  return createMemfd("memory-backend-memfd", options.size, { flags, resizable: !options.seal });
}

function createUnlinkedShm(options: CommonBackendOptions): Descriptor {
  const path = `/dev/shm/molt-${processId()}-${options.id}`;
  const flags = OpenFlags.readWrite | OpenFlags.create | OpenFlags.exclusive;
  const descriptor = openFile(path, flags);
  try {
    unlink(path);
    truncate(descriptor.fd, options.size);
    return descriptor;
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

/**
 * A process before this one hands over the file that has the guest's memory: by now the path may name
 * another one, or none.
 */
function fileBlock(
  options: MemoryBackendOptions & { kind: "file" },
  adopted: Descriptor | undefined,
  openPath: OpenPath,
): RamBlock {
  const { path, size, offset } = options;
  const { descriptor, created } = adopted === undefined
    ? openBackingFile(options, openPath)
    : { descriptor: adopted, created: false };
  try {
    const mapping = new Mapping(
      { kind: "file", fd: descriptor.fd, offset, shared: options.share },
      size,
      `'${path}'`,
    );
    return new RamBlock({
      name: options.id,
      backendId: options.id,
      backing: options.share
        ? { kind: "path", path, descriptor, offset, created }
        : { kind: "private file", path, descriptor },
      mapping,
    });
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

/** Opens or creates the file, and makes a new or empty one as long as the backend. */
function openBackingFile(
  options: MemoryBackendOptions & { kind: "file" },
  openPath: OpenPath,
): { readonly descriptor: Descriptor; readonly created: boolean } {
  const { path, size, offset } = options;
  const access = options.readOnly ? OpenFlags.readOnly : OpenFlags.readWrite;
  const descriptor = openBackingStore(
    openPath,
    path,
    isDirectory(path)
      ? OpenFlags.readWrite | OpenFlags.temporary
      : access | (options.readOnly ? 0 : OpenFlags.create),
  );
  try {
    const { kind, size: actual } = status(descriptor.fd);
    const created = kind === "file" && actual === 0;
    if (created) {
      enlarge(descriptor, path, offset + size);
    } else if (kind === "file" && actual < offset + size) {
      throw new Error(
        `${options.id} backing store size 0x${actual.toString(16)} is too small for 'size' ` +
          `option 0x${size.toString(16)} plus 'offset' option 0x${offset.toString(16)}`,
      );
    }
    return { descriptor, created };
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

function enlarge({ fd }: Descriptor, path: string, size: number): void {
  try {
    truncate(fd, size);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new SystemError(
      `can't set the size of backing store ${path} to ${size} bytes`,
      error.errno,
    );
  }
}

function openBackingStore(openPath: OpenPath, path: string, flags: number): Descriptor {
  try {
    return openPath(path, flags, 0o644);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new SystemError(`can't open backing store ${path} for guest RAM`, error.errno);
  }
}

function isDirectory(path: string): boolean {
  try {
    using directory = openFile(path, OpenFlags.readOnly | OpenFlags.directory);
    return status(directory.fd).kind === "directory";
  } catch {
    return false;
  }
}
