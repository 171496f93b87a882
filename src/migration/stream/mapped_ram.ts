/**
 * mapped-ram: every page has a fixed place in the file. Each entry of the block list is followed by a
 * header, the block's bitmap and its pages:
 *
 * | header offset | type | meaning                                          |
 * | ------------- | ---- | ------------------------------------------------ |
 * | 0             | u32  | version, 1                                       |
 * | 4             | u64  | page size, 4096                                  |
 * | 12            | u64  | file offset of the bitmap                        |
 * | 20            | u64  | file offset of page 0; page i is i * 4096 beyond |
 *
 * Offsets are absolute in the file. Bit i % 8 of byte i / 8 of the bitmap is set if page i is stored; if
 * it is clear the page is zero, whatever lies at its place. A block that is not saved (x-ignore-shared)
 * has a header with both offsets 0, and neither bitmap nor pages.
 */
import type { StateReader, StateWriter } from "../../vmstate/vmstate.ts";
import { pageSize } from "./constants.ts";
import { StreamError } from "./errors.ts";

const headerVersion = 1;
/** Bytes in a header. */
export const mappedRamHeaderSize = 28;
/** Alignment of each block's pages in the file, when written. */
export const pagesAlignment = 0x10_0000;

/** Where a block lies in the file. */
export interface MappedRamPlace {
  readonly bitmapOffset: number;
  /** Bytes in the bitmap: whole u64 words. */
  readonly bitmapSize: number;
  readonly pagesOffset: number;
}

/** Bytes in the bitmap of a block of `length` bytes. */
export function bitmapSize(length: number): number {
  return Math.ceil(length / pageSize / 64) * 8;
}

/** Where a block goes whose header ends at file offset `position`. */
export function placeMappedBlock(position: number, length: number): MappedRamPlace {
  const size = bitmapSize(length);
  return {
    bitmapOffset: position,
    bitmapSize: size,
    pagesOffset: Math.ceil((position + size) / pagesAlignment) * pagesAlignment,
  };
}

/** Writes a block's header; `undefined` is for a block that is not saved. */
export function writeMappedRamHeader(writer: StateWriter, place: MappedRamPlace | undefined): void {
  writer.u32(headerVersion);
  writer.u64Number(pageSize);
  writer.u64Number(place?.bitmapOffset ?? 0);
  writer.u64Number(place?.pagesOffset ?? 0);
}

/** Reads the header of a block of `length` bytes; `undefined` if the block is not saved. */
export function readMappedRamHeader(
  reader: StateReader,
  name: string,
  length: number,
): MappedRamPlace | undefined {
  const offset = reader.streamOffset;
  const version = reader.u32();
  const size = reader.u64Number();
  const bitmapOffset = reader.u64Number();
  const pagesOffset = reader.u64Number();
  if (version > headerVersion) {
    throw new StreamError(
      `Migration mapped-ram capability version not supported (expected <= ${headerVersion}, got ${version})`,
      offset,
    );
  }
  if (size !== pageSize) {
    throw new StreamError(
      `Migration mapped-ram header has invalid page_size ${size} (expected ${pageSize})`,
      offset + 4,
    );
  }
  if (bitmapOffset === 0 && pagesOffset === 0) return undefined;
  if (pagesOffset % pageSize !== 0) {
    throw new StreamError(
      `Error reading ramblock ${name} pages, region has bad alignment`,
      offset + 20,
    );
  }
  const place = { bitmapOffset, bitmapSize: bitmapSize(length), pagesOffset };
  if (bitmapOffset < reader.streamOffset || pagesOffset < bitmapOffset + place.bitmapSize) {
    throw new StreamError(
      `ramblock ${name} has its bitmap at 0x${bitmapOffset.toString(16)} and its pages at 0x${
        pagesOffset.toString(16)
      }, over other data`,
      offset + 12,
    );
  }
  return place;
}
