/** mapped-ram files of RAM alone, written and read as a migration does. */
import { IncomingFile, OutgoingFile } from "../../../../src/channel/file.ts";
import { createMemoryBackend } from "../../../../src/memory/backend.ts";
import type { DirtyTracker } from "../../../../src/kvm/dirty_tracker.ts";
import { GuestMemory } from "../../../../src/memory/guest_memory.ts";
import type { RamBlock } from "../../../../src/memory/ram_block.ts";
import {
  loadMappedRam,
  type MappedRamSource,
} from "../../../../src/migration/mapped_ram/receiver.ts";
import { MappedRamTransport } from "../../../../src/migration/mapped_ram/transport.ts";
import { PrecopySender } from "../../../../src/migration/ram/precopy.ts";
import type { RamListing } from "../../../../src/migration/ram/sender.ts";
import type { RamBlockEntry } from "../../../../src/migration/stream/ram_records.ts";
import { StreamReader } from "../../../../src/migration/stream/stream_reader.ts";
import { StreamWriter } from "../../../../src/migration/stream/stream_writer.ts";

export const PAGE = 4096;

/** A memfd-backed block. */
export function memfdBlock(id: string, pages: number): RamBlock {
  const size = pages * PAGE;
  return createMemoryBackend({ kind: "memfd", id, size, share: true, seal: false }, undefined);
}

/** An anonymous block. */
export function anonymousBlock(id: string, pages: number): RamBlock {
  return createMemoryBackend({ kind: "ram", id, size: pages * PAGE, share: false }, undefined);
}

/** The bytes of a page: not a copy. */
export function pageOf({ mapping }: RamBlock, page: number): Uint8Array<ArrayBuffer> {
  return mapping.bytes.subarray(page * PAGE, (page + 1) * PAGE);
}

/** Fills a page with bytes that depend on `seed` and no other. */
export function fillPage(block: RamBlock, page: number, seed: number): void {
  const words = new Uint32Array(block.mapping.bytes.buffer, page * PAGE, PAGE / 4);
  let state = seed * 2654435761 + 1 | 0;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
}

/** How {@linkcode save} and {@linkcode load} go about it. */
export interface Manner {
  readonly offset?: number;
  readonly channels?: number;
  readonly directIo?: boolean;
  readonly detectZero?: boolean;
  readonly listings?: readonly RamListing[];
}

/** There are no processors. */
const nobodyWrites: DirtyTracker = {
  start: () => {},
  stop: () => {},
  collect: () => Promise.resolve(),
  protect: () => Promise.resolve(),
  emptyRings: () => {},
};

/** Saves blocks to `path`. */
export async function save(
  path: string,
  blocks: readonly RamBlock[],
  manner: Manner = {},
): Promise<void> {
  using file = OutgoingFile.create(path, manner.offset);
  await saveTo(file, blocks, manner);
}

/** Saves blocks to a file that is open. */
export async function saveTo(
  file: OutgoingFile,
  blocks: readonly RamBlock[],
  { channels = 1, directIo = false, detectZero = true, listings }: Manner = {},
): Promise<void> {
  const writer = new StreamWriter(file.position);
  await using sender = new PrecopySender({
    writer,
    flush: () => file.write(writer.take()),
    listings: listings ?? blocks.map((block) => ({ block, ignored: false })),
    sources: { tracker: nobodyWrites, memory: new GuestMemory([]) },
    transport: new MappedRamTransport({ writer, file, channels, directIo, detectZero }),
    parameters: () => ({ maxBandwidth: 0, downtimeLimit: 300, switchoverBandwidth: 0 }),
    signal: file.cancelled,
    passBegins: () => {},
  });
  writer.begin({
    machineType: "microvm",
    capabilities: listings ? ["x-ignore-shared", "mapped-ram"] : ["mapped-ram"],
  });
  await sender.begin();
  while (!await sender.pass());
  await sender.finish();
  writer.finish();
  await file.write(writer.take());
  await file.finish();
}

/** The block list of a file. */
export async function listOf(file: IncomingFile): Promise<readonly RamBlockEntry[]> {
  const reader = new StreamReader({ devices: () => undefined, offset: file.position });
  for (;;) {
    const item = reader.next();
    if (item?.kind === "ram" && item.record.kind === "blocks") return item.record.blocks;
    if (item !== undefined) continue;
    const space = reader.space();
    file.seek(reader.wantedOffset);
    const count = await file.read(space);
    if (count === 0) reader.end();
    else reader.filled(count);
  }
}

/** What the file has of `blocks`. */
export async function sourcesOf(
  file: IncomingFile,
  blocks: readonly RamBlock[],
): Promise<MappedRamSource[]> {
  return (await listOf(file)).flatMap(({ name, length, mapped }) => {
    const block = blocks.find((candidate) => candidate.name === name);
    return block && mapped ? [{ block, length, place: mapped }] : [];
  });
}

/** Loads blocks from `path`. */
export async function load(
  path: string,
  blocks: readonly RamBlock[],
  { offset = 0, channels = 1, directIo = false }: Manner = {},
): Promise<void> {
  using file = IncomingFile.open(path, offset);
  const sources = await sourcesOf(file, blocks);
  await loadMappedRam({ file, sources, channels, directIo });
}
