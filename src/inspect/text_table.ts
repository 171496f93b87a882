/** Rows as text in aligned columns. */

/** A column: its title, and whether its cells are numbers, which stand to the right. */
export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** Lines of a table, indented by two spaces. The last column is not padded. */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string[] {
  const all = [columns.map(({ title }) => title), ...rows];
  const widths = columns.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  return all.map((row) =>
    columns.map(({ align }, i) => {
      const cell = row[i] ?? "";
      const width = widths[i] ?? 0;
      return align === "right" ? cell.padStart(width) : cell.padEnd(width);
    }).join("  ").trimEnd()
  ).map((line) => `  ${line}`);
}
