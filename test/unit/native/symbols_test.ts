import { assertEquals } from "@std/assert";
import { cPrototype, type Parameter, type Prototype } from "../../../src/native/prototype.ts";
import { guestPrototypes } from "../../../src/native/prototypes/guest.ts";
import { hostPrototypes, waitPrototypes } from "../../../src/native/prototypes/host.ts";
import { threadPrototypes } from "../../../src/native/prototypes/threads.ts";

const root = new URL("../../../", import.meta.url).pathname;

/** The text of a C source without its comments. */
function source(path: string): string {
  return Deno.readTextFileSync(root + path).replaceAll(/\/\*.*?\*\//gs, "");
}

/** `RESULT NAME(PARAMETERS)`, each matched by `pattern`, by the functions' names and in one line. */
function declarations(texts: readonly string[], pattern: RegExp): Map<string, string> {
  return new Map(
    texts.flatMap((text) => [...text.matchAll(pattern)]).map(([, declared = "", name = ""]) => [
      name,
      declared.replaceAll(/\s+/g, " ").trim(),
    ]),
  );
}

/** What the library exports: the beginnings of the definitions marked with MOLT_EXPORT. */
function definitions(): Map<string, string> {
  const files = [...Deno.readDirSync(`${root}ffi`)].map(({ name }) => `ffi/${name}`);
  const texts = files.filter((name) => name.endsWith(".c")).map(source);
  return declarations(texts, /MOLT_EXPORT\s+(\w+\s+(molt_\w+)\([^)]*\))\s*\{/g);
}

/** The prototypes in a header. */
function headerPrototypes(path: string): Map<string, string> {
  return declarations([source(path)], /^(\w+\s+(molt_\w+)\([^)]*\));/gm);
}

function table(prototypes: Readonly<Record<string, Prototype>>): [string, string][] {
  return Object.entries(prototypes).map(([name, prototype]) => [name, cPrototype(name, prototype)]);
}

function sorted(prototypes: Iterable<[string, string]>): string[] {
  return Array.from(prototypes, ([, text]) => text).sort();
}

Deno.test("the table has the functions that the C library defines, with their parameters", () => {
  const tables = { ...hostPrototypes, ...waitPrototypes, ...guestPrototypes };
  const defined = definitions();
  assertEquals([...defined].length > 100, true);
  assertEquals(sorted(table(tables)), sorted(defined));
});

Deno.test("the threads' table has the functions of ffi/thread_functions.h", () => {
  assertEquals(
    sorted(table(threadPrototypes)),
    sorted(headerPrototypes("ffi/thread_functions.h")),
  );
});

/** How thread_functions.c takes an argument out of its 64 bits. */
function unpacked(parameter: Parameter, index: number): string {
  const declared = typeof parameter === "string" ? parameter : parameter.at;
  if (declared.includes("*")) return `at(a[${index}])`;
  if (declared.startsWith("int32_t ")) return `number(a[${index}])`;
  if (declared.startsWith("uint64_t ")) return `a[${index}]`;
  return `(${declared.split(" ")[0]})a[${index}]`;
}

Deno.test("threads call each function with the arguments of its table entry, in their order", () => {
  const text = source("ffi/thread_functions.c");
  const calls = declarations([text], /((molt_\w+)\((?:[^()]|\([^()]*\))*\));/g);
  const entries: [string, Prototype][] = Object.entries(threadPrototypes);
  assertEquals(
    sorted(calls),
    entries.map(([name, [, ...parameters]]) => `${name}(${parameters.map(unpacked).join(", ")})`)
      .sort(),
  );
  const listed = [...text.matchAll(/FUNCTION\((\w+)\),/g)].map(([, name]) => `molt_${name}`);
  assertEquals(listed.sort(), Object.keys(threadPrototypes).sort());
});

Deno.test("the C programs of test/sanitized call the functions as the library defines them", () => {
  const defined = definitions();
  const declared = headerPrototypes("test/sanitized/support/entry_points.h");
  assertEquals(declared.size > 10, true);
  for (const [name, prototype] of declared) assertEquals(prototype, defined.get(name));
});
