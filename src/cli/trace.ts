/** -trace: there are no trace events, and asking for one by name is answered with a warning. */

/** What QEMU says of a pattern that names an event that is not there. */
export function traceWarnings(pattern: string): readonly string[] {
  const name = pattern.replace(/^-/, "");
  if (name === "" || /[*?]/.test(name)) return [];
  return [`warning: trace event '${name}' does not exist`];
}

/** The same of a file that has a pattern on each line, and comments. */
export function traceFileWarnings(text: string): readonly string[] {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => !line.startsWith("#")).flatMap(traceWarnings);
}
