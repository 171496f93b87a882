/** Values, sizes and offsets as people read them. */

/** `0x1f`. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** A count of bytes in its largest unit: `512 MiB`, `1.5 GiB`, `36 bytes`. */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const text = Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : 1);
  return `${text} ${bytes === 1 ? "byte" : units[unit]}`;
}

/** `1 page`, `2 pages`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Longest text of a value; what is beyond is left out and said to be. */
const LONGEST = 400;
/** Bytes of a buffer that are shown. */
const BUFFER_BYTES = 32;

/** A field's value: numbers also in hex, buffers as hex or text, equal neighbours once. */
export function valueText(value: unknown): string {
  if (value instanceof Uint8Array) return bufferText(value);
  if (value instanceof BigUint64Array) return listText([...value]);
  if (Array.isArray(value)) return listText(value);
  switch (typeof value) {
    case "number":
    case "bigint":
      return numberText(value);
    case "string":
      return JSON.stringify(value);
    case "undefined":
      return "-";
    case "object":
      return value === null ? "-" : shortened(
        `{${
          Object.entries(value).map(([name, member]) => `${name}: ${valueText(member)}`).join(", ")
        }}`,
      );
    default:
      return String(value);
  }
}

function numberText(value: number | bigint): string {
  return value > -10 && value < 10
    ? String(value)
    : value < 0
    ? String(value)
    : `${value} (${hex(value)})`;
}

function bufferText(bytes: Uint8Array): string {
  const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
  if (end === 0) return `${bytes.length} × 00`;
  const content = bytes.subarray(0, end);
  if (content.every((byte) => byte >= 0x20 && byte < 0x7f)) {
    return shortened(JSON.stringify(String.fromCharCode(...content.subarray(0, LONGEST))));
  }
  const shown = Array.from(bytes.subarray(0, BUFFER_BYTES), byteText).join(" ");
  return bytes.length > BUFFER_BYTES ? `${shown} … ${bytes.length} bytes` : shown;
}

function byteText(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

function listText(values: readonly unknown[]): string {
  const groups: { text: string; count: number }[] = [];
  for (const value of values) {
    const text = typeof value === "bigint" || typeof value === "number"
      ? value > -10 && value < 10 ? String(value) : hex(value)
      : valueText(value);
    const last = groups.at(-1);
    if (last?.text === text) last.count++;
    else groups.push({ text, count: 1 });
  }
  return shortened(
    groups.map(({ text, count }) => count > 1 ? `${count} × ${text}` : text).join(", "),
  );
}

function shortened(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)} …` : text;
}
