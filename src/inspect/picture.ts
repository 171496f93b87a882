/** A block's pages as cells of a picture: few enough to draw, whatever the block's size. */
import type { BlockPages } from "./block_pages.ts";

/** Most cells of a picture. */
const CELLS = 1 << 18;

/** Consecutive cells that look the same. */
export interface CellRun {
  count: number;
  /** Pages with content in each of the cells. */
  readonly stored: number;
  /** Pages that the file says are zero in each of the cells. */
  readonly zero: number;
}

/** What is drawn of a block. */
export interface Picture {
  readonly pages: number;
  /** Pages in a cell, a power of two; the last one may have fewer. */
  readonly pagesPerCell: number;
  readonly runs: readonly CellRun[];
}

/** The picture of a block. */
export function pictureOf(pages: BlockPages): Picture {
  let pagesPerCell = 1;
  while (pages.pages / pagesPerCell > CELLS) pagesPerCell *= 2;
  const runs: CellRun[] = [];
  const add = (count: number, stored: number, zero: number) => {
    const last = runs.at(-1);
    if (last?.stored === stored && last.zero === zero) last.count += count;
    else runs.push({ count, stored, zero });
  };
  let cell = { filled: 0, stored: 0, zero: 0 };
  const finishCell = () => {
    if (cell.filled > 0) add(1, cell.stored, cell.zero);
    cell = { filled: 0, stored: 0, zero: 0 };
  };
  for (const { count, kind } of pages.runs()) {
    const put = (part: number) => {
      cell.filled += part;
      if (kind !== "absent") cell[kind] += part;
      if (cell.filled === pagesPerCell) finishCell();
    };
    const first = Math.min(count, (pagesPerCell - cell.filled) % pagesPerCell);
    if (first > 0) put(first);
    const whole = Math.floor((count - first) / pagesPerCell);
    if (whole > 0) {
      add(whole, kind === "stored" ? pagesPerCell : 0, kind === "zero" ? pagesPerCell : 0);
    }
    const rest = count - first - whole * pagesPerCell;
    if (rest > 0) put(rest);
  }
  finishCell();
  return { pages: pages.pages, pagesPerCell, runs };
}
