import { assertEquals, assertThrows } from "@std/assert";
import {
  count,
  describeOptions,
  flag,
  parseOptions,
  UsageError,
  value,
} from "../../../scripts/lib/options.ts";

const shape = {
  "file": value("FILE", "where it goes"),
  "log": value("FILE", "where it logs").optional(),
  "channels": count("N", 1, "how many at once").default(2),
  "direct-io": flag("past the cache"),
};

Deno.test("options have types, defaults and a program after them", () => {
  assertEquals(parseOptions(["save", "--file=x", "--dry-run"], shape), {
    options: { "file": "x", "channels": 2, "direct-io": false },
    dryRun: true,
    json: false,
    words: ["save"],
    command: undefined,
  });
  const typed = ["--file", "x", "--channels", "8", "--direct-io", "--", "molt", "--json"];
  assertEquals(parseOptions(typed, shape), {
    options: { "file": "x", "channels": 8, "direct-io": true },
    dryRun: false,
    json: false,
    words: [],
    command: ["molt", "--json"],
  });
});

Deno.test("what makes no sense is reported by option and value", () => {
  const refusal = (...typed: string[]) =>
    assertThrows(() => parseOptions(typed, shape), UsageError).message;
  assertEquals(refusal(), "--file is missing");
  assertEquals(refusal("--file"), "--file needs a value");
  assertEquals(refusal("--file", "x", "--file", "y"), "--file is given twice");
  assertEquals(refusal("--file", "x", "--fast"), "unknown option --fast");
  assertEquals(
    refusal("--file", "x", "--channels", "0"),
    "--channels 0: at least 1 is expected",
  );
  assertEquals(
    refusal("--file", "x", "--channels", "many"),
    "--channels many: a whole number is expected",
  );
});

Deno.test("the help lists each option, its value and its default", () => {
  assertEquals(
    describeOptions(shape).split("\n"),
    [
      "  --file FILE   where it goes",
      "  --log FILE    where it logs",
      "  --channels N  how many at once (default 2)",
      "  --direct-io   past the cache",
      "  --dry-run     print the commands and programs instead of executing them",
      "  --json        print one JSON object at the end and no text",
      "  --help        print this",
    ],
  );
});
