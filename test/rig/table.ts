/** Results as tables of text. */
import type { Result } from "./report.ts";

/** A table for each group, with a column for each value that any of its rows has. */
export function formatTables(results: readonly Result[]): string {
  const groups = [...new Set(results.map(({ group }) => group))];
  return groups
    .map((group) => formatTable(group, results.filter((result) => result.group === group)))
    .join("\n\n");
}

function formatTable(group: string, results: readonly Result[]): string {
  const columns = [...new Set(results.flatMap(({ values }) => Object.keys(values)))];
  const rows = [
    [group, ...columns, "time", "result"],
    ...results.map(({ name, values, seconds, error }) => [
      name,
      ...columns.map((column) => values[column] ?? ""),
      `${seconds.toFixed(1)} s`,
      error === undefined ? "ok" : "FAILED",
    ]),
  ];
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? [];
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  const ruler = `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`;
  const [head = [], ...body] = rows;
  return [line(head), ruler, ...body.map(line)].join("\n");
}
