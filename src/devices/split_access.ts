/** For devices whose registers are bytes: an access of two or four bytes is as many of one. */
import type { AccessSize, RegisterRegion } from "./device.ts";

/** Reads `size` bytes of `region` one by one, low address first. */
export function readBytes(region: RegisterRegion, offset: number, size: AccessSize): number {
  let value = 0;
  for (let i = 0; i < size; i++) value |= region.read(offset + i, 1) << (8 * i);
  return value >>> 0;
}

/** Writes the bytes of `value` one by one, low address first. */
export function writeBytes(
  region: RegisterRegion,
  offset: number,
  size: AccessSize,
  value: number,
): void {
  for (let i = 0; i < size; i++) region.write(offset + i, 1, (value >>> (8 * i)) & 0xff);
}
