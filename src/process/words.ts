/** The words of the command line that a successor is started with. */

/**
 * The words with `to` wherever one names the file `from`: as a word, or as a value in an option list, in
 * which a comma is doubled, or in JSON text.
 */
export function renameInWords(words: readonly string[], from: string, to: string): string[] {
  const doubled = (path: string) => path.replaceAll(",", ",,");
  const spellings = [
    [doubled(from), doubled(to), /[:=]$/, /^(,(?!,)|$)/],
    [JSON.stringify(from), JSON.stringify(to), /[:,\s]$/, /^[,}\s]/],
  ] as const;
  return words.map((word) => {
    if (word === from) return to;
    for (const [old, name, before, after] of spellings) {
      const at = word.indexOf(old);
      if (at <= 0) continue;
      const [head, tail] = [word.slice(0, at), word.slice(at + old.length)];
      if (before.test(head) && after.test(tail)) return `${head}${name}${tail}`;
    }
    return word;
  });
}
