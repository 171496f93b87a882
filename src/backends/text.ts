/** Text as character devices carry it. */

const encoder = new TextEncoder();

/** `text` in UTF-8. */
export function encodeText(text: string): Uint8Array<ArrayBuffer> {
  // TypeScript before 5.9 does not know that encode gives an array of its own.
  return new Uint8Array(encoder.encode(text));
}
