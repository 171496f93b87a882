/**
 * RAM from a file in which every page has a fixed place (see stream/mapped_ram.ts).
 *
 *   bitmaps   of all blocks are read and checked against the file's size
 *   pages     that are stored go straight to guest memory, in ranges as when saving (running.ts); the others
 *             become zero, without touching memory that nobody has touched yet
 */
import type { IncomingFile } from "../../channel/file.ts";
import { PAGE_SIZE, type RamBlock } from "../../memory/ram_block.ts";
import { type DirectAccess, PageTransfer, PageTransferError } from "../../native/mapped_ram.ts";
import { PageBitmap } from "../../native/pages.ts";
import { MigrationError } from "../errors.ts";
import { inParallel } from "../ram/parallel.ts";
import { dropUnwritten } from "../ram/unwritten.ts";
import type { MappedRamPlace } from "../stream/mapped_ram.ts";
import { pageError } from "./errors.ts";
import { directAccess, moveRange, threadsFor } from "./running.ts";

/** A block and where the file has it. */
export interface MappedRamSource {
  readonly block: RamBlock;
  /** Bytes that the file has of it: the block's length. */
  readonly length: number;
  readonly place: MappedRamPlace;
}

/** How RAM is read from a file. */
export interface MappedRamLoadOptions {
  readonly file: IncomingFile;
  readonly sources: readonly MappedRamSource[];
  /** The number of multifd channels, or 1. */
  readonly channels: number;
  /** Pages bypass the page cache. */
  readonly directIo: boolean;
}

/** A block, the pages that the file has of it, and those whose memory may hold something. */
interface CheckedSource extends MappedRamSource {
  readonly stored: PageBitmap;
  readonly touched: PageBitmap;
}

/** Pages [first, end) of a block. */
interface LoadedRange {
  readonly source: CheckedSource;
  readonly first: number;
  readonly end: number;
}

/** Pages of a range, as many as when saving (ram/precopy.ts): 16 MiB. */
const RANGE_PAGES = 4096;

/**
 * Loads all blocks. Throws MigrationError, having touched no memory if bitmaps or places are wrong, and
 * MigrationCancelled soon after the file's channel was cancelled.
 */
export async function loadMappedRam(options: MappedRamLoadOptions): Promise<void> {
  const { file, sources, directIo } = options;
  using resources = new DisposableStack();
  const bitmaps: PageBitmap[] = [];
  for (const source of sources) {
    bitmaps.push(resources.use(await readBitmap(file, source)));
  }
  const direct = directAccess(file, directIo, resources);
  const checked: CheckedSource[] = [];
  for (const [i, source] of sources.entries()) {
    const touched = resources.use(new PageBitmap(source.length / PAGE_SIZE));
    touched.fill(true);
    await dropUnwritten(source.block, touched, 0, touched.pages);
    checked.push({ ...source, stored: bitmaps[i]!, touched });
  }
  const ranges = rangesOf(checked);
  await inParallel(
    threadsFor(options.channels),
    () => ranges.next().value,
    (range) => loadRange(range, file, direct),
  );
}

function* rangesOf(sources: readonly CheckedSource[]): Generator<LoadedRange, undefined> {
  for (const source of sources) {
    const { pages } = source.stored;
    for (let first = 0; first < pages; first += RANGE_PAGES) {
      yield { source, first, end: Math.min(first + RANGE_PAGES, pages) };
    }
  }
}

async function loadRange(
  { source, first, end }: LoadedRange,
  file: IncomingFile,
  direct: DirectAccess | undefined,
): Promise<void> {
  const { block, place, stored, touched } = source;
  const transfer = new PageTransfer({
    direction: "load",
    memory: block.mapping,
    fd: file.fd,
    direct,
    fileOffset: place.pagesOffset,
    first,
    end,
    selected: touched,
    stored,
    detectZero: true,
  });
  try {
    await moveRange(transfer, file.cancelled);
  } catch (error) {
    throw error instanceof PageTransferError
      ? pageError(error, "read", block.name, file.name, place.pagesOffset)
      : error;
  }
}

/** Reads a block's bitmap. Throws unless bitmap and stored pages lie in the file. */
async function readBitmap(
  file: IncomingFile,
  { block, length, place }: MappedRamSource,
): Promise<PageBitmap> {
  const { bitmapOffset, bitmapSize, pagesOffset } = place;
  const { size } = file;
  const problem = (text: string) =>
    new MigrationError(`'${file.name}' has ${size} bytes, but block '${block.name}' ${text}`);
  const hex = (value: number) => `0x${value.toString(16)}`;
  if (length > block.mapping.size || length % PAGE_SIZE !== 0) {
    throw new MigrationError(
      `block '${block.name}' has ${hex(length)} bytes in '${file.name}', here ${
        hex(block.mapping.size)
      }`,
    );
  }
  if (bitmapOffset + bitmapSize > size) {
    throw problem(`has its bitmap at ${hex(bitmapOffset)}, ${bitmapSize} bytes`);
  }
  const stored = new PageBitmap(length / PAGE_SIZE);
  try {
    file.seek(bitmapOffset);
    for (let done = 0; done < bitmapSize;) {
      const count = await file.read(stored.bytes.subarray(done, bitmapSize));
      if (count === 0) throw problem(`has its bitmap at ${hex(bitmapOffset)}`);
      done += count;
    }
    clearBeyond(stored);
    const held = Math.floor(Math.max(size - pagesOffset, 0) / PAGE_SIZE);
    const beyond = stored.next(Math.min(held, stored.pages));
    if (beyond < stored.pages) {
      throw problem(
        `has its page ${hex(beyond * PAGE_SIZE)} at ${hex(pagesOffset + beyond * PAGE_SIZE)}`,
      );
    }
    return stored;
  } catch (error) {
    stored[Symbol.dispose]();
    throw error;
  }
}

/** Bits behind the last page say nothing. */
function clearBeyond(bitmap: PageBitmap): void {
  const last = bitmap.words.length - 1;
  const used = BigInt(bitmap.pages - last * 64);
  bitmap.words[last] = BigInt.asUintN(Number(used), bitmap.words[last] ?? 0n);
}
