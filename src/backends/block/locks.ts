/**
 * Image locks as QEMU takes them, so that no two programs write an image by mistake. Each permission has
 * two bytes of the image file: byte 100 + n is locked (shared) by who uses permission n, byte 200 + n by
 * who does not want others to use it. Locks belong to the open file, not to the process.
 *
 *   take: lock all bytes, then look for others' locks that contradict -> held, or all dropped again
 */
import type { Fd } from "../../native/descriptor.ts";
import { lockedByOthers, shareLock } from "../../native/file.ts";

const PERMISSION_BASE = 100;
const EXCLUSION_BASE = 200;

/** Permissions that locks are about, by their numbers. */
const permissionNames = ["consistent read", "write"] as const;
const CONSISTENT_READ = 0;
const WRITE = 1;

/** An image is in use by somebody else, in a way that does not go together with ours. */
export class ImageLockError extends Error {
  override readonly name = "ImageLockError";
  constructor(lock: string, path: string) {
    super(`Failed to get ${lock} lock\nIs another process using the image [${path}]?`);
  }
}

/** How an image is used. */
export interface ImageUse {
  readonly write: boolean;
  /** Others may write at the same time. */
  readonly shareWrite: boolean;
}

/** Takes the locks for a use of the image `path`, open as `fd`. Throws an {@linkcode ImageLockError}. */
export function takeImageLocks(fd: Fd, path: string, use: ImageUse): void {
  const used = use.write ? [CONSISTENT_READ, WRITE] : [CONSISTENT_READ];
  const excluded = use.shareWrite ? [] : [WRITE];
  try {
    for (const permission of used) shareLock(fd, PERMISSION_BASE + permission, true);
    for (const permission of excluded) shareLock(fd, EXCLUSION_BASE + permission, true);
    for (const permission of used) {
      if (lockedByOthers(fd, EXCLUSION_BASE + permission)) {
        throw new ImageLockError(`"${permissionNames[permission]}"`, path);
      }
    }
    for (const permission of excluded) {
      if (lockedByOthers(fd, PERMISSION_BASE + permission)) {
        throw new ImageLockError(`shared "${permissionNames[permission]}"`, path);
      }
    }
  } catch (error) {
    dropImageLocks(fd);
    throw error;
  }
}

/** Drops all locks on an image. */
export function dropImageLocks(fd: Fd): void {
  for (const permission of permissionNames.keys()) {
    shareLock(fd, PERMISSION_BASE + permission, false);
    shareLock(fd, EXCLUSION_BASE + permission, false);
  }
}
