/** Texts on the command line as values. Each function returns `undefined` for a text it does not take. */

const kibi = 1024;

/** Bytes in one unit of each size suffix. */
const sizeSuffixes: Readonly<Record<string, number>> = {
  B: 1,
  K: kibi,
  M: kibi ** 2,
  G: kibi ** 3,
  T: kibi ** 4,
  P: kibi ** 5,
  E: kibi ** 6,
};

/** `on`, `yes`, `true`, `y` and their opposites, as QEMU takes them. */
export function parseBoolean(text: string): boolean | undefined {
  switch (text) {
    case "on":
    case "yes":
    case "true":
    case "y":
      return true;
    case "off":
    case "no":
    case "false":
    case "n":
      return false;
    default:
      return undefined;
  }
}

/** Digits that a number of 64 bits has at most, whatever its base. */
const MOST_DIGITS = 22;
/** Stands for every number that 64 bits do not hold. */
const TOO_LARGE = 1n << 64n;

/**
 * A whole number: decimal, hexadecimal with `0x`, or octal with a leading 0, as strtoull(3) with base 0.
 * One of more than 64 bits may be given as 2^64, or its negative.
 */
export function parseInteger(text: string): bigint | undefined {
  const match = /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text);
  if (match === null) return undefined;
  const [, sign, digits = ""] = match;
  const octal = digits.length > 1 && digits[0] === "0" && !/^0[xX]/.test(digits);
  // The time that a bigint takes grows faster than its digits.
  const significant = digits.replace(/^0[xX]?0*/, "").length;
  const magnitude = significant > MOST_DIGITS
    ? TOO_LARGE
    : BigInt(octal ? `0o${digits.slice(1)}` : digits);
  return sign === "-" ? -magnitude : magnitude;
}

/** What became of a text meant as a size. */
export type SizeResult =
  | { readonly kind: "size"; readonly bytes: number }
  | { readonly kind: "invalid" }
  | { readonly kind: "out of range" };

/**
 * A size in bytes: a decimal number, possibly with a fraction, and a suffix B, k, M, G, T, P or E;
 * or a hexadecimal number without suffix. `unit` is the suffix assumed when there is none.
 */
export function parseSize(text: string, unit: "B" | "M" = "B"): SizeResult {
  const match = /^\s*(-?)(0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)([a-zA-Z]?)$/.exec(text);
  if (match === null || /^0[xX]/.test(match[2] ?? "") && match[3]) return { kind: "invalid" };
  const [, sign, digits = "", suffix = ""] = match;
  const scale = sizeSuffixes[(suffix || unit).toUpperCase()];
  if (scale === undefined) return { kind: "invalid" };
  // A part of a number needs a unit that is more than a byte, whatever is assumed without one.
  const fraction = !Number.isInteger(Number(digits));
  if (fraction && (suffix === "" || scale === 1)) return { kind: "invalid" };
  const bytes = Math.floor(Number(digits) * scale);
  if (sign === "-" || bytes > Number.MAX_SAFE_INTEGER) return { kind: "out of range" };
  return { kind: "size", bytes };
}

/** Whether `text` may be an `id`: letters, digits, `-`, `.`, `_`, starting with a letter. */
export function isIdentifier(text: string): boolean {
  return /^[a-zA-Z][a-zA-Z0-9._-]*$/.test(text);
}
