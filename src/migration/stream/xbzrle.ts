/**
 * XBZRLE: a page as the difference to its former content. Pairs of runs, each with its length before it
 * (7 bits a byte, low ones first, at most two bytes): so many bytes unchanged, so many new bytes. What
 * comes after the last run is unchanged. Only the first run may be empty.
 */
import { StreamError } from "./errors.ts";

/** Applies `encoded` to a page. `offset` is where it lies in the stream, for errors. */
export function applyXbzrle(page: Uint8Array, encoded: Uint8Array, offset = 0): void {
  let from = 0;
  let to = 0;
  const runLength = () => {
    const low = encoded[from];
    const high = low !== undefined && low >= 0x80 ? encoded[from + 1] : 0;
    if (low === undefined || high === undefined || high >= 0x80) {
      throw new StreamError("Failed to load XBZRLE page - decode error!", offset + from);
    }
    from += low >= 0x80 ? 2 : 1;
    return (low & 0x7f) | (high << 7);
  };
  while (from < encoded.length) {
    const first = from === 0;
    const unchanged = runLength();
    const changed = runLength();
    const start = to + unchanged;
    const data = encoded.subarray(from, from + changed);
    if (
      changed === 0 || (unchanged === 0 && !first) || data.length !== changed ||
      start + changed > page.length
    ) {
      throw new StreamError("Failed to load XBZRLE page - decode error!", offset + from);
    }
    page.set(data, start);
    from += changed;
    to = start + changed;
  }
}
