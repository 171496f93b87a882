/** How `print`, `x` and `xp` show values. */
import { hex } from "../human_readable.ts";
import type { DisplayFormat } from "./parameters.ts";

/** A character as a C literal: `'A'`, `'\x00'`. */
export function describeCharacter(code: number): string {
  const escapes: Readonly<Record<string, string>> = {
    "'": "\\'",
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
  };
  const character = String.fromCharCode(code);
  const printable = code >= 32 && code <= 126;
  return `'${escapes[character] ?? (printable ? character : `\\x${hex(code, 2)}`)}'`;
}

/** A value as `print` shows it. */
export function describeValue(value: bigint, format: DisplayFormat["format"]): string {
  const unsigned = BigInt.asUintN(64, value);
  switch (format) {
    case "d":
    case "i":
      return String(value);
    case "u":
      return String(unsigned);
    case "o":
      return unsigned === 0n ? "0" : `0${unsigned.toString(8)}`;
    case "x":
      return unsigned === 0n ? "0" : `0x${unsigned.toString(16)}`;
    case "c":
      return describeCharacter(Number(unsigned & 0xffn));
  }
}

/** Columns of the largest value of `size` bytes. */
function width(format: DisplayFormat["format"], size: number): number {
  if (format === "o") return Math.ceil((size * 8) / 3);
  return Math.ceil((size * 8 * 10) / 33);
}

function describeCell(bytes: Uint8Array, format: DisplayFormat["format"]): string {
  let value = 0n;
  for (const byte of bytes.toReversed()) value = (value << 8n) | BigInt(byte);
  switch (format) {
    case "x":
      return `0x${hex(value, 2 * bytes.length)}`;
    case "o":
      return `0${value.toString(8).padStart(width(format, bytes.length))}`;
    case "u":
      return String(value).padStart(width(format, bytes.length));
    case "c":
      return describeCharacter(Number(value));
    default:
      // Only the widest values have a sign.
      return String(BigInt.asIntN(64, value)).padStart(width(format, bytes.length));
  }
}

/**
 * Memory from `address` on as `x` and `xp` show it, `digits` being the least width of addresses.
 * `read` gives bytes, or `undefined` where there are none.
 */
export function dumpMemory(
  address: bigint,
  { count, format, size }: DisplayFormat,
  digits: number,
  read: (address: bigint, length: number) => Uint8Array | undefined,
): string {
  const cell = format === "c" ? 1 : size;
  const lineLength = size === 1 ? 8 : 16;
  const total = count * size;
  let text = "";
  for (let done = 0; done < total; done += lineLength) {
    const here = BigInt.asUintN(64, address + BigInt(done));
    const length = Math.min(lineLength, total - done);
    const bytes = read(here, length);
    text += `${hex(here, digits)}:`;
    if (bytes === undefined) return `${text} Cannot access memory\n`;
    for (let at = 0; at < length; at += cell) {
      text += ` ${describeCell(bytes.subarray(at, at + cell), format)}`;
    }
    text += "\n";
  }
  return text;
}
