/** The bytes of a request's buffers, for devices that live in TypeScript. */
import type { GuestMemory } from "../../memory/guest_memory.ts";
import type { GuestBuffer } from "../../native/virtqueue.ts";

/** Bytes of all buffers. */
export function totalLength(buffers: readonly GuestBuffer[]): number {
  return buffers.reduce((sum, { length }) => sum + length, 0);
}

/** A copy of the first bytes of the buffers, at most `limit`. */
export function gather(
  memory: GuestMemory,
  buffers: readonly GuestBuffer[],
  limit: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.min(totalLength(buffers), limit));
  let done = 0;
  for (const { address, length } of buffers) {
    if (done === bytes.length) break;
    const piece = memory.read(address, Math.min(length, bytes.length - done));
    bytes.set(piece, done);
    done += piece.length;
  }
  return bytes;
}

/** Writes bytes into the buffers, from their start, and returns how many there was room for. */
export function scatter(
  memory: GuestMemory,
  buffers: readonly GuestBuffer[],
  bytes: Uint8Array,
): number {
  let done = 0;
  for (const { address, length } of buffers) {
    if (done === bytes.length) break;
    const piece = bytes.subarray(done, done + length);
    memory.write(address, piece);
    done += piece.length;
  }
  return done;
}

/** Whether all bytes of a buffer are RAM. Those of requests from a queue are; those of saved ones may not be. */
export function isRam(memory: GuestMemory, { address, length }: GuestBuffer): boolean {
  let at = address;
  const end = address + length;
  while (at < end) {
    const region = memory.regions.find((r) => at >= r.address && at < r.address + r.size);
    if (region === undefined) return false;
    at = region.address + region.size;
  }
  return true;
}
