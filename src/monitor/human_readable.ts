/** Facts as text for people: what `info` and the x-query commands have in common. */
import type { RamBlockInfo } from "./context.ts";

/** Bytes in the largest unit that divides them: `4 KiB`. */
export function describePageSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (bytes >= 1024 && bytes % 1024 === 0 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${bytes} ${units[unit]}`;
}

/** `value` in hexadecimal, with at least `digits` digits and no prefix. */
export function hex(value: number | bigint, digits = 16): string {
  return value.toString(16).padStart(digits, "0");
}

/** The table of `info ramblock`. */
export function describeRamBlocks(blocks: readonly RamBlockInfo[]): string {
  const header = [
    "Block Name".padStart(24),
    "PSize".padStart(8),
    "Offset".padStart(19),
    "Used".padStart(18),
    "Total".padStart(18),
    "HVA".padStart(18),
    " RO",
  ].join(" ");
  const rows = blocks.map((block) =>
    [
      block.name.padStart(24),
      describePageSize(block.pageSize).padStart(8),
      ` 0x${hex(block.offset)}`,
      `0x${hex(block.used)}`,
      `0x${hex(block.total)}`,
      `0x${hex(block.hostAddress)}`,
      block.readOnly ? " ro" : " rw",
    ].join(" ")
  );
  return [header, ...rows].map((line) => `${line}\n`).join("");
}
