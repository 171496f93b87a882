/** The contents of JSON string tokens: escape sequences and UTF-8, checked as QEMU checks them. */

const BACKSLASH = 0x5c;
const SMALL_U = 0x75;

const simpleEscapes = new Map<number, string>([
  [0x22, '"'],
  [0x27, "'"],
  [0x5c, "\\"],
  [0x2f, "/"],
  [0x62, "\b"],
  [0x66, "\f"],
  [0x6e, "\n"],
  [0x72, "\r"],
  [0x74, "\t"],
]);

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A code point that stands for a character: no surrogate, no non-character. */
function isCharacter(codePoint: number): boolean {
  if (codePoint >= 0xd800 && codePoint <= 0xdfff) return false;
  if (codePoint >= 0xfdd0 && codePoint <= 0xfdef) return false;
  return codePoint <= 0x10ffff && (codePoint & 0xfffe) !== 0xfffe;
}

/** The four hexadecimal digits at `at`, `undefined` if they are none. */
function hexQuad(bytes: Uint8Array, at: number): number | undefined {
  const text = String.fromCharCode(...bytes.subarray(at, at + 4));
  return /^[0-9a-fA-F]{4}$/.test(text) ? parseInt(text, 16) : undefined;
}

/**
 * Length in bytes of the UTF-8 sequence at `at`, and its code point: `undefined` if it is malformed.
 * C0 80 is U+0000, as in "modified UTF-8".
 */
function sequence(bytes: Uint8Array, at: number): [length: number, codePoint: number] | undefined {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return [1, first];
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
  if (length === 0 || first >= 0xf8) return undefined;
  let codePoint = first & (0xff >> (length + 1));
  for (let i = 1; i < length; i++) {
    const byte = bytes[at + i] ?? 0;
    if ((byte & 0xc0) !== 0x80) return undefined;
    codePoint = (codePoint << 6) | (byte & 0x3f);
  }
  const smallest = [0, 0, 0x80, 0x800, 0x10000][length] ?? 0;
  const overlong = codePoint < smallest && !(codePoint === 0 && length === 2);
  return overlong || !isCharacter(codePoint) ? undefined : [length, codePoint];
}

/**
 * The text of a string token, `bytes` with its quotes. `fail` gets what is wrong with it and does
 * not return.
 */
export function decodeJsonString(bytes: Uint8Array, fail: (message: string) => never): string {
  const end = bytes.length - 1;
  let text = "";
  let at = 1;
  while (at < end) {
    const byte = bytes[at] ?? 0;
    if (byte !== BACKSLASH) {
      if (byte < 0x80) {
        const start = at;
        while (at < end && (bytes[at] ?? 0) < 0x80 && bytes[at] !== BACKSLASH) at++;
        text += decoder.decode(bytes.subarray(start, at));
        continue;
      }
      const found = sequence(bytes, at);
      if (found === undefined) return fail("invalid UTF-8 sequence in string");
      text += String.fromCodePoint(found[1]);
      at += found[0];
      continue;
    }
    const escaped = bytes[at + 1] ?? 0;
    if (escaped !== SMALL_U) {
      const character = simpleEscapes.get(escaped);
      if (character === undefined) return fail("invalid escape sequence in string");
      text += character;
      at += 2;
      continue;
    }
    const start = at;
    const invalid = (length: number): never => {
      const shown = decoder.decode(bytes.subarray(start, Math.min(start + length, bytes.length)));
      return fail(`${shown} is not a valid Unicode character`);
    };
    let codePoint = hexQuad(bytes, at + 2) ?? invalid(6);
    at += 6;
    if (codePoint >= 0xd800 && codePoint <= 0xdbff) {
      const paired = bytes[at] === BACKSLASH && bytes[at + 1] === SMALL_U;
      const low = paired ? hexQuad(bytes, at + 2) : undefined;
      if (low !== undefined && low >= 0xdc00 && low <= 0xdfff) {
        codePoint = 0x10000 + ((codePoint - 0xd800) << 10) + (low - 0xdc00);
        at += 6;
      }
    }
    if (!isCharacter(codePoint)) invalid(at - start);
    text += String.fromCodePoint(codePoint);
  }
  return text;
}
