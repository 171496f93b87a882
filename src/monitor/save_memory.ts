/** Copies guest memory to a file, as pmemsave does. */
import { openOutput } from "../backends/chardev.ts";
import { OpenFlags, write } from "../native/file.ts";
import type { MemoryControl } from "./context.ts";

/** Bytes copied at a time. */
const CHUNK = 1 << 20;

/** Writes `length` bytes of guest-physical memory to a new file. */
export function savePhysicalMemory(
  memory: MemoryControl,
  address: number,
  length: number,
  path: string,
): void {
  const { writeOnly, create, truncate } = OpenFlags;
  using file = openOutput(path, writeOnly | create | truncate);
  for (let done = 0; done < length;) {
    const size = Math.min(CHUNK, length - done);
    const bytes = memory.readPhysical(address + done, size);
    if (bytes === undefined) {
      throw new Error(`Invalid addr 0x${(address + done).toString(16)}/size ${size} specified`);
    }
    const copy = new Uint8Array(bytes);
    for (let at = 0; at < size;) at += write(file.fd, copy.subarray(at)) ?? 0;
    done += size;
  }
}
