/** XBZRLE: a page as the difference to its former content (ffi/xbzrle.h). */
import { applyDifference } from "../../native/ram_record.ts";
import { StreamError } from "./errors.ts";

/** Applies `encoded` to a page. `offset` is where it lies in the stream, for errors. */
export function applyXbzrle(page: Uint8Array, encoded: Uint8Array, offset = 0): void {
  const bad = applyDifference(page, encoded);
  if (bad !== undefined) throw xbzrleError(offset + bad);
}

/** The error for a difference that makes no sense from `offset` of the stream on. */
export function xbzrleError(offset: number): StreamError {
  return new StreamError("Failed to load XBZRLE page - decode error!", offset);
}
