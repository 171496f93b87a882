/** What loaders of kernels share: where an initrd goes, how a command line is encoded. */

import { BootError, type BootFile, type GuestMemory, type MemoryMapEntry } from "./boot.ts";

const pageSize = 4096;
const zeros = new Uint8Array(64 * 1024);

/** The command line as bytes with its NUL. `limit` is in bytes and includes the NUL. */
export function encodeCommandLine(commandLine: string, limit: number): Uint8Array {
  if (commandLine.includes("\0")) throw new BootError("kernel command line contains a NUL");
  const text = new TextEncoder().encode(commandLine);
  if (text.length >= limit) {
    throw new BootError(
      `kernel command line of ${text.length} bytes is too long: at most ${limit - 1}`,
    );
  }
  const bytes = new Uint8Array(text.length + 1);
  bytes.set(text);
  return bytes;
}

/**
 * The highest page-aligned place for an initrd that ends at or below `highest` (the last byte's
 * address) and starts at or above `lowest`. Throws if there is none.
 */
export function placeInitrd(
  initrd: BootFile,
  map: readonly MemoryMapEntry[],
  lowest: number,
  highest: number,
): { readonly address: number; readonly length: number } {
  const length = initrd.bytes.length;
  let best: number | undefined;
  let room = 0;
  for (const entry of map) {
    if (entry.kind !== "ram") continue;
    const end = Math.min(entry.start + entry.length, highest + 1);
    const start = Math.max(entry.start, lowest);
    room = Math.max(room, end - start);
    const address = Math.floor((end - length) / pageSize) * pageSize;
    if (address >= start && (best === undefined || address > best)) best = address;
  }
  if (best === undefined) {
    throw new BootError(
      `initrd '${initrd.name}' is too large (max: ${Math.max(room, 0)}, need ${length})`,
    );
  }
  return { address: best, length };
}

/** Clears guest memory, which after a reset is not zero any more. */
export function writeZeros(memory: GuestMemory, address: number, length: number): void {
  for (let done = 0; done < length; done += zeros.length) {
    memory.write(address + done, zeros.subarray(0, Math.min(zeros.length, length - done)));
  }
}
