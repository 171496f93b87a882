/** Copies guest memory to a file, as memsave and pmemsave do. */
import { openAs } from "../backends/chardev.ts";
import { OpenFlags, type OpenPath, write } from "../native/file.ts";
import { hex } from "./human_readable.ts";
import type { MemoryControl } from "./context.ts";

/** Bytes copied at a time. */
const CHUNK = 1 << 20;

/** What a guest keeps in its memory is its owner's. */
const MODE = 0o600;

/** A guest page, the most that one address translation is good for. */
const PAGE = 4096;

/** Writes `length` bytes of guest-physical memory to a new file. */
export function savePhysicalMemory(
  memory: Pick<MemoryControl, "readPhysical">,
  address: number,
  length: number,
  path: string,
  openPath: OpenPath,
): void {
  save(length, path, openPath, (done, rest) => {
    const size = Math.min(CHUNK, rest);
    const bytes = memory.readPhysical(address + done, size);
    if (bytes !== undefined) return bytes;
    throw new Error(`Invalid addr 0x${(address + done).toString(16)}/size ${size} specified`);
  });
}

/** Writes `length` bytes of memory, as vCPU `cpu` sees it at `address`, to a new file. */
export function saveVirtualMemory(
  memory: MemoryControl,
  cpu: number,
  address: bigint,
  length: number,
  path: string,
  openPath: OpenPath,
): void {
  save(length, path, openPath, (done, rest) => {
    const here = BigInt.asUintN(64, address + BigInt(done));
    const size = Math.min(PAGE - Number(here % BigInt(PAGE)), rest);
    const physical = memory.translate(cpu, here);
    const bytes = physical === undefined ? undefined : memory.readPhysical(physical, size);
    if (bytes !== undefined) return bytes;
    throw new Error(`Invalid addr 0x${hex(here)}/size ${length} specified`);
  });
}

function save(
  length: number,
  path: string,
  openPath: OpenPath,
  read: (done: number, rest: number) => Uint8Array,
): void {
  const { writeOnly, create, truncate } = OpenFlags;
  using file = openAs(openPath, path, writeOnly | create | truncate, MODE);
  for (let done = 0; done < length;) {
    const bytes = read(done, length - done);
    const size = bytes.length;
    const copy = new Uint8Array(bytes);
    for (let at = 0; at < size;) at += write(file.fd, copy.subarray(at)) ?? 0;
    done += size;
  }
}
