/**
 * Device state declared as data. A structure lists its fields in the order of the wire:
 *
 *     export const uartState = struct({
 *       name: "uart", version: 3, minimumVersion: 2,
 *       fields: { divider: u16({ since: 2 }), lineStatus: u8({ name: "lsr" }), fcr: u8({ since: 3 }) },
 *       subsections: {
 *         timeoutPending: subsection({ name: "uart/timeout", version: 1, field: i32(), absent: 0 }),
 *       },
 *     });
 *     export type UartState = StateOf<typeof uartState>;
 *
 * Integers of up to 32 bits are `number`, of 64 bits `bigint`, many of 64 bits `BigUint64Array`, raw
 * bytes `Uint8Array`.
 */
export { array, countedArray, list, zeroPaddedArray } from "./arrays.ts";
export { byteArray, bytes, countedBytes, padding, text } from "./bytes.ts";
export { conditional, variant } from "./conditional.ts";
export type { StateDescription, StateOf } from "./description.ts";
export { OutOfDataError, VmStateError } from "./errors.ts";
export {
  type Count,
  countOf,
  Field,
  type FieldOptions,
  readCount,
  type Siblings,
} from "./field.ts";
export { nested, opaque, temporary } from "./nested.ts";
export { type FieldTrace, type ReaderOptions, StateReader } from "./reader.ts";
export { bool, i16, i32, i64, i8, timer, u16, u32, u64, u8, widened } from "./scalars.ts";
export { type FieldRecord, type FieldsState, struct, Structure } from "./structure.ts";
export { Subsection, subsection } from "./subsection.ts";
export { allZero, words } from "./words.ts";
export { StateWriter } from "./writer.ts";
