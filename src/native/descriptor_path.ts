/**
 * Paths that users give: /dev/fdset/N stands for one of the descriptors of set N (add-fd), as in QEMU.
 * Whoever opens such a path is given an {@linkcode OpenPath}: that of the process's DescriptorStore.
 */
import type { Descriptor } from "./descriptor.ts";
import { Errno, SystemError } from "./errors.ts";
import { OpenFlags, type OpenPath, readOpenFile } from "./file.ts";

const SET_PREFIX = "/dev/fdset/";
/** The largest number of a set: QEMU's are of C's type int. */
const LAST_SET = 0x7fff_ffff;

/** A set that does not have what a path asks of it. The texts and errno values are QEMU's. */
export class DescriptorSetError extends SystemError {
  constructor(text: string, errno: number) {
    super(text, errno);
    this.message = text;
  }
}

/** Whether `path` stands for a descriptor of a set, be it there or not. */
export function namesSet(path: string): boolean {
  return path.startsWith(SET_PREFIX);
}

/**
 * The number of the set that `path` stands for; `undefined` for an ordinary path. Throws a
 * DescriptorSetError if it is no number.
 */
export function descriptorSet(path: string): number | undefined {
  if (!namesSet(path)) return undefined;
  const number = path.slice(SET_PREFIX.length);
  if (/^\s*\+?\d{1,10}$/.test(number) && Number(number) <= LAST_SET) return Number(number);
  throw new DescriptorSetError(`Could not parse fdset ${path}`, Errno.EINVAL);
}

/** Opens `path` for reading. Of a set any descriptor will do that can be read. */
export function openToRead(open: OpenPath, path: string): Descriptor {
  try {
    return open(path, OpenFlags.readOnly);
  } catch (error) {
    if (!(error instanceof DescriptorSetError) || error.errno !== Errno.EACCES) throw error;
    return open(path, OpenFlags.readWrite);
  }
}

/** The whole content of the file `path`. */
export function readPath(open: OpenPath, path: string): Uint8Array<ArrayBuffer> {
  using descriptor = openToRead(open, path);
  return readOpenFile(descriptor.fd, path);
}
