/** Writes JSON the way QEMU does: ASCII only, `, ` and `: ` between items. */
import type { JsonValue } from "./value.ts";

const escapes = new Map<string, string>([
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["\b", "\\b"],
  ["\f", "\\f"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

// deno-lint-ignore no-control-regex
const special = /["\\\u0000-\u001f\u007f-\uffff]/;

function escape(unit: string): string {
  return escapes.get(unit) ??
    `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function writeString(text: string): string {
  if (!special.test(text)) return `"${text}"`;
  const known = new Map<number, string>();
  let escaped = "";
  let plain = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code >= 0x20 && code < 0x7f && code !== 0x22 && code !== 0x5c) continue;
    let sequence = known.get(code);
    if (sequence === undefined) known.set(code, sequence = escape(text.charAt(at)));
    escaped += plain < at ? text.slice(plain, at) + sequence : sequence;
    plain = at + 1;
  }
  return `"${escaped}${text.slice(plain)}"`;
}

/** A floating-point number as printf's %.17g shows it; there is no JSON for infinities. */
function writeNumber(number: number): string {
  if (Object.is(number, -0)) return "-0";
  if (Number.isSafeInteger(number)) return String(number);
  if (!Number.isFinite(number)) return number > 0 ? "inf" : number < 0 ? "-inf" : "nan";
  const [digits = "", exponentText = "0"] = number.toExponential(16).split("e");
  const exponent = Number(exponentText);
  if (exponent >= -4 && exponent < 17) {
    const fixed = number.toFixed(Math.min(100, 16 - exponent));
    return fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed;
  }
  const sign = exponent < 0 ? "-" : "+";
  const mantissa = digits.replace(/\.?0+$/, "");
  return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** `value` as text, on one line or, with `pretty`, one member a line, indented by four. */
export function writeJson(value: JsonValue, pretty = false, indent = ""): string {
  if (value === null || typeof value === "boolean" || typeof value === "bigint") {
    return String(value);
  }
  if (typeof value === "number") return writeNumber(value);
  if (typeof value === "string") return writeString(value);
  const inner = `${indent}    `;
  const isArray = Array.isArray(value);
  const items: string[] = [];
  if (isArray) {
    for (const item of value) items.push(writeJson(item, pretty, inner));
  } else {
    for (const [key, member] of Object.entries(value)) {
      if (member === undefined) continue;
      items.push(`${writeString(key)}: ${writeJson(member, pretty, inner)}`);
    }
  }
  const [open, close] = isArray ? ["[", "]"] : ["{", "}"];
  if (items.length === 0) return `${open}${close}`;
  return pretty
    ? `${open}\n${items.map((item) => inner + item).join(",\n")}\n${indent}${close}`
    : `${open}${items.join(", ")}${close}`;
}
