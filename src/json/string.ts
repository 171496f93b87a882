/** The contents of JSON string tokens: escape sequences and UTF-8, checked as QEMU checks them. */

const BACKSLASH = 0x5c;
const SMALL_U = 0x75;

/** The code units of simple escape sequences. */
const simpleEscapes = new Map<number, number>([
  [0x22, 0x22],
  [0x27, 0x27],
  [0x5c, 0x5c],
  [0x2f, 0x2f],
  [0x62, 0x08],
  [0x66, 0x0c],
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
]);

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const unitDecoder = new TextDecoder("utf-16le", { ignoreBOM: true });

/** A code point that stands for a character: no surrogate, no non-character. */
function isCharacter(codePoint: number): boolean {
  if (codePoint >= 0xd800 && codePoint <= 0xdfff) return false;
  if (codePoint >= 0xfdd0 && codePoint <= 0xfdef) return false;
  return codePoint <= 0x10ffff && (codePoint & 0xfffe) !== 0xfffe;
}

/** The value of a hexadecimal digit; NaN if it is none. */
function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : NaN;
}

/** The four hexadecimal digits at `at`, `undefined` if they are none. */
function hexQuad(bytes: Uint8Array, at: number): number | undefined {
  let value = 0;
  for (let i = at; i < at + 4; i++) value = 16 * value + hexDigit(bytes[i] ?? 0);
  return Number.isNaN(value) ? undefined : value;
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
 * The text of a string token, `bytes` with its quotes, in time that is linear in its length. `fail` gets
 * what is wrong with it and does not return.
 */
export function decodeJsonString(bytes: Uint8Array, fail: (message: string) => never): string {
  const end = bytes.length - 1;
  let at = 1;
  while (at < end && isPlainAscii(bytes[at] ?? 0)) at++;
  if (at === end) return decoder.decode(bytes.subarray(1, end));
  const units = new Uint16Array(bytes.length);
  let length = at - 1;
  units.set(bytes.subarray(1, at));
  const append = (codePoint: number) => {
    if (codePoint >= 0x10000) {
      units[length++] = 0xd800 + ((codePoint - 0x10000) >> 10);
      units[length++] = 0xdc00 + ((codePoint - 0x10000) & 0x3ff);
    } else {
      units[length++] = codePoint;
    }
  };
  while (at < end) {
    const byte = bytes[at] ?? 0;
    if (isPlainAscii(byte)) {
      units[length++] = byte;
      at++;
      continue;
    }
    if (byte !== BACKSLASH) {
      const found = sequence(bytes, at);
      if (found === undefined) return fail("invalid UTF-8 sequence in string");
      append(found[1]);
      at += found[0];
      continue;
    }
    const escaped = bytes[at + 1] ?? 0;
    if (escaped !== SMALL_U) {
      const unit = simpleEscapes.get(escaped);
      if (unit === undefined) return fail("invalid escape sequence in string");
      units[length++] = unit;
      at += 2;
      continue;
    }
    const start = at;
    const invalid = (size: number): never => {
      const shown = decoder.decode(bytes.subarray(start, Math.min(start + size, bytes.length)));
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
    append(codePoint);
  }
  return unitDecoder.decode(units.subarray(0, length));
}

function isPlainAscii(byte: number): boolean {
  return byte < 0x80 && byte !== BACKSLASH;
}
