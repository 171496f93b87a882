import { assertEquals, assertThrows } from "@std/assert";
import { OptionError } from "../../../src/configuration/errors.ts";
import { mergeTrees, parseKeyValues, parseOptionList } from "../../../src/cli/syntax.ts";

function pairs(text: string, impliedKey?: string): string[] {
  return parseOptionList(text, "-x: ", impliedKey).pairs.map(({ key, value }) => `${key}|${value}`);
}

Deno.test("an option list is flat, and its first part may leave out the key", () => {
  assertEquals(pairs("a=1,b=2"), ["a|1", "b|2"]);
  assertEquals(pairs("tap,id=n", "type"), ["type|tap", "id|n"]);
  assertEquals(pairs("id=n,type=tap", "type"), ["id|n", "type|tap"]);
  assertEquals(pairs("a=x=y,b="), ["a|x=y", "b|"]);
  assertEquals(pairs(""), []);
});

Deno.test("two commas in a value are one", () => {
  assertEquals(pairs("file=a,,b,,,c=1"), ["file|a,b,", "c|1"]);
  assertEquals(pairs("a,,b,id=x", "guest"), ["guest|a,b", "id|x"]);
  assertEquals(pairs("a=,,"), ["a|,"]);
});

Deno.test("bare words are switches, and deprecated", () => {
  const { pairs, warnings } = parseOptionList("unix,server,nowait", "-chardev u: ", "backend");
  assertEquals(pairs.map(({ key, value }) => `${key}=${value}`), [
    "backend=unix",
    "server=on",
    "wait=off",
  ]);
  assertEquals(warnings, [
    "-chardev u: warning: short-form boolean option 'server' deprecated\nPlease use server=on instead",
    "-chardev u: warning: short-form boolean option 'nowait' deprecated\nPlease use wait=off instead",
  ]);
});

Deno.test("a key-value tree has members within members and lists", () => {
  const { tree } = parseKeyValues(
    "raw,file.driver=file,file.filename=/x,,y,l.1=b,l.0=a",
    "",
    "driver",
  );
  assertEquals(tree, {
    driver: "raw",
    file: { driver: "file", filename: "/x,y" },
    l: ["a", "b"],
  });
  assertEquals(parseKeyValues("microvm,", "", "type").tree, { type: "microvm" });
  assertEquals(parseKeyValues("a=1,a=2", "", undefined).tree, { a: "2" });
  assertEquals(parseKeyValues("x,help", "", "type"), { tree: { type: "x" }, help: true });
});

Deno.test("giving an option again lays its members over the earlier ones", () => {
  const earlier = { type: "microvm", smp: { cpus: "2", cores: "2" } };
  assertEquals(mergeTrees(earlier, { smp: { cpus: "4" }, acpi: "off" }, ""), {
    type: "microvm",
    smp: { cpus: "4", cores: "2" },
    acpi: "off",
  });
  assertThrows(
    () => mergeTrees(earlier, { smp: "2" }, "-M smp=2: "),
    OptionError,
    "-M smp=2: Parameters 'smp.*' used inconsistently",
  );
});
