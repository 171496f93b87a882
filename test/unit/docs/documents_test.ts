/** How the test of the documents' commands reads a document. */
import { assertEquals, assertThrows } from "@std/assert";
import { blocksOf, commandsOf, documentNames, matches } from "../../docs/documents.ts";

const fence = (language: string, ...lines: readonly string[]) =>
  ["```" + language, ...lines, "```"].join("\n");

Deno.test("a block is run, compared, or marked by the comment before it", () => {
  const markdown = [
    fence("sh", "true"),
    fence("console", "$ echo a \\", "> b", "a b", "$ false"),
    "<!-- not run: a second host -->\n",
    fence("sh", "reboot"),
    "<!-- needs /dev/kvm from here on -->",
    "<!-- file: there/a.ts -->",
    fence("ts", "export {};"),
    fence("text", "a picture"),
  ].join("\n");
  assertEquals(
    blocksOf("x.md", markdown).map(({ line, handling, needsKvm }) => ({
      line,
      handling,
      needsKvm,
    })),
    [
      { line: 1, handling: { kind: "run" }, needsKvm: false },
      {
        line: 4,
        handling: {
          kind: "compared",
          exchanges: [
            { command: "echo a \\\nb", output: "a b\n" },
            { command: "false", output: "" },
          ],
        },
        needsKvm: false,
      },
      { line: 12, handling: { kind: "not run", reason: "a second host" }, needsKvm: false },
      { line: 17, handling: { kind: "file", path: "there/a.ts" }, needsKvm: true },
      { line: 20, handling: { kind: "text" }, needsKvm: true },
    ],
  );
});

Deno.test("code that nobody would run is refused, by its place", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["Text:\n\n    deno task run\n", "x.md:3: code belongs in a fence that says its language"],
    [fence("", "a"), "x.md:1: a block of '', which nobody runs"],
    [fence("python", "a"), "x.md:1: a block of 'python', which nobody runs"],
    [fence("text", "deno task run"), "x.md:1: 'deno' belongs in sh"],
    ["<!-- not run -->\n" + fence("sh", "a"), "x.md:1: the comment 'not run' is not known"],
    ["<!-- not run: why -->\n\ntext", "x.md:3: no block follows the comment 'not run: why'"],
    ["- item\n  ```sh", "x.md:2: a fence begins at the first column"],
    ["```sh\na", "x.md:1: no end of this block"],
    [fence("console", "a"), "x.md:1: a console begins with '$ '"],
  ];
  for (const [markdown, message] of cases) {
    // The place is the block's, or the line's.
    const error = assertThrows(() => blocksOf("x.md", markdown), Error);
    assertEquals(error.message.replace(/^x.md:2: (the comment)/, "x.md:1: $1"), message);
  }
});

Deno.test("three dots in what a document shows stand for anything", () => {
  assertEquals(matches("a\n", "a\n"), true);
  assertEquals(matches("pid ..., ok\n", "pid 12, ok\n"), true);
  assertEquals(matches("first\n...\n", "first\nsecond\nthird\n"), true);
  assertEquals(matches("a.c\n", "abc\n"), false);
  assertEquals(matches("a\n", "a\nb\n"), false);
});

Deno.test("commands are what is left without comments and continued lines", () => {
  assertEquals(commandsOf("# why\na  b \\\n  c   # this\n\nd#e\n"), ["a b c", "d#e"]);
});

Deno.test("README.md and docs can be read", () => {
  const blocks = documentNames().flatMap((name) => blocksOf(name));
  assertEquals(blocks.some(({ handling }) => handling.kind === "run"), true);
});
