/** Words of 64 bits without `bigint`. */

/** The words' halves, as signed integers: these are never boxed. The lower half comes first (x86). */
export function halvesOf(value: BigUint64Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  return new Int32Array(value.buffer, value.byteOffset, 2 * value.length);
}
