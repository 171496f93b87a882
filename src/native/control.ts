/** ioctl. */
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import type { Fd } from "./descriptor.ts";

/** An ioctl whose argument is a structure. `name` is the request's, for the error message. */
export function ioctl(
  fd: Fd,
  request: bigint,
  argument: Uint8Array<ArrayBuffer>,
  name: string,
): number {
  return unwrap(native.molt_ioctl(fd, request, argument), name);
}

/** An ioctl whose argument is a number. */
export function ioctlValue(fd: Fd, request: bigint, value: number | bigint, name: string): number {
  return unwrap(native.molt_ioctl_value(fd, request, BigInt(value)), name);
}

/**
 * An ioctl without an argument that may fail with `expected`; then it returns false. An error is not thrown
 * to be caught again where the guest waits: that takes longer than the call.
 */
export function ioctlUnless(expected: number, fd: Fd, request: bigint, name: string): boolean {
  const result = native.molt_ioctl_value(fd, request, 0n);
  if (result === -expected) return false;
  unwrap(result, name);
  return true;
}
