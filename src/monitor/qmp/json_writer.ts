/** Writes JSON the way QEMU does: ASCII only, `, ` and `: ` between items. */
import type { JsonValue } from "./json_value.ts";

const escapes = new Map<string, string>([
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["\b", "\\b"],
  ["\f", "\\f"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

function writeString(text: string): string {
  // deno-lint-ignore no-control-regex
  const escaped = text.replace(/["\\\u0000-\u001f\u007f-\uffff]/g, (unit) =>
    escapes.get(unit) ??
      `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  return `"${escaped}"`;
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
