/** Differences as text for a person, and as a value for JSON. */
import { PAGE_SIZE } from "../memory/ram_block.ts";
import type { BlockDifference, Comparison, PageRange, ValueDifference } from "./compare.ts";
import { isSame } from "./compare.ts";
import { namedDifferences } from "./register_names.ts";
import { tableLines } from "./text_table.ts";
import { counted, hex, valueText } from "./values.ts";

/** Most ranges of pages that are listed for a block. */
const RANGES = 40;

/** The differences as lines of text. */
export function comparisonText(comparison: Comparison): string {
  const { a, b, configuration, onlyInA, onlyInB, devices, blocks } = comparison;
  if (isSame(comparison)) return `${a} and ${b}: no difference`;
  const sections = [[`a: ${a}`, `b: ${b}`]];
  if (configuration.length > 0) {
    sections.push(["Configuration", ...valueLines("name", configuration)]);
  }
  if (onlyInA.length > 0) sections.push(["Only in a", ...onlyInA.map((name) => `  ${name}`)]);
  if (onlyInB.length > 0) sections.push(["Only in b", ...onlyInB.map((name) => `  ${name}`)]);
  for (const device of devices) {
    sections.push([device.section, ...valueLines("field", namedDifferences(device))]);
  }
  for (const block of blocks) sections.push(blockLines(block));
  return sections.map((lines) => lines.join("\n")).join("\n\n");
}

function valueLines(title: string, values: readonly ValueDifference[]): string[] {
  return tableLines(
    [{ title }, { title: "a" }, { title: "b" }],
    values.map(({ name, a, b }) => [name, valueText(a), valueText(b)]),
  );
}

function blockLines({ block, lengths, ranges }: BlockDifference): string[] {
  const pages = ranges.reduce((sum, { count }) => sum + count, 0);
  const shown = ranges.slice(0, RANGES).map(({ first, count }) => [
    hex(first * PAGE_SIZE),
    hex((first + count) * PAGE_SIZE),
    String(count),
  ]);
  return [
    `block ${block}: ${counted(pages, "page")} ${pages === 1 ? "differs" : "differ"}`,
    ...(lengths.a === lengths.b
      ? []
      : [`  length  ${hex(lengths.a)} in a, ${hex(lengths.b)} in b`]),
    ...(shown.length === 0 ? [] : tableLines([
      { title: "from", align: "right" },
      { title: "to", align: "right" },
      { title: "pages", align: "right" },
    ], shown)),
    ...(ranges.length > RANGES ? [`  and ${counted(ranges.length - RANGES, "range")} more`] : []),
  ];
}

/** The differences as a plain value for `jsonText`. */
export function comparisonValue({ onlyInA, onlyInB, blocks, ...rest }: Comparison): unknown {
  const rangeValue = ({ first, count }: PageRange) => ({
    from: first * PAGE_SIZE,
    to: (first + count) * PAGE_SIZE,
  });
  return {
    ...rest,
    "only-in-a": onlyInA,
    "only-in-b": onlyInB,
    blocks: blocks.map(({ block, lengths, ranges }) => ({
      block,
      lengths,
      ranges: ranges.map(rangeValue),
    })),
  };
}
