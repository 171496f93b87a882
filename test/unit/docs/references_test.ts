/** What README.md, CHANGELOG.md and docs name is there: links, tasks, files, variables and QMP names. */
import { assertEquals } from "@std/assert";
import { capabilityNames } from "../../../src/migration/capabilities.ts";
import { parameterDeclarations } from "../../../src/migration/parameters.ts";
import { documentNames, readDocument, root } from "../../docs/documents.ts";

const documents = [...documentNames(), "CHANGELOG.md"];

/** Everything that `pattern` finds in the documents and `isThere` does not: `DOCUMENT: TEXT`. */
function missing(
  pattern: RegExp,
  isThere: (text: string, document: string) => boolean,
): { readonly found: number; readonly missing: readonly string[] } {
  const all = documents.flatMap((document) =>
    [...readDocument(document).matchAll(pattern)].map(([whole, text = whole]) => ({
      document,
      text,
    }))
  );
  return {
    found: all.length,
    missing: all.filter(({ document, text }) => !isThere(text, document))
      .map(({ document, text }) => `${document}: ${text}`),
  };
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** GitHub's name of a heading. */
function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}

function check(what: string, result: ReturnType<typeof missing>, least: number): void {
  assertEquals(result.missing, [], `${what} that are not there`);
  assertEquals(result.found >= least, true, `${what}: only ${result.found} were found at all`);
}

Deno.test("relative links lead to files and headings", () => {
  const result = missing(/\]\((?!https?:)([^)]+)\)/g, (target, document) => {
    const [path = "", anchor] = target.split("#");
    const file = path === "" ? `${root}${document}` : new URL(path, `file://${root}${document}`);
    const name = file instanceof URL ? file.pathname : file;
    if (!exists(name)) return false;
    if (anchor === undefined) return true;
    const headings = Deno.readTextFileSync(name).matchAll(/^#+ (.*)$/gm);
    return [...headings].some(([, heading]) => anchorOf(heading ?? "") === anchor);
  });
  check("links", result, 4);
});

Deno.test("tasks exist", () => {
  const { tasks } = JSON.parse(Deno.readTextFileSync(`${root}deno.json`));
  const pattern = /\b(?:deno|deno@[\d.]+) task (?:--quiet )?([a-z:]+)/g;
  check("tasks", missing(pattern, (task) => Object.hasOwn(tasks, task)), 20);
});

Deno.test("Deno's version is the one that CI uses", () => {
  const version = /deno@([\d.]+\d)/.exec(Deno.readTextFileSync(`${root}.ci/run`))?.[1];
  check("versions", missing(/deno@([\d.]+\d)/g, (text) => text === version), 3);
});

Deno.test("files and folders exist", () => {
  // Not what is built; Markdown has a backslash before an asterisk.
  const pattern = /(?<![\w./~-])(?:src|ffi|test|scripts|bench|docs)\/[\w./-]*\w(?:\\?\*)?/g;
  const isThere = (path: string) =>
    path.endsWith("*") ? isPrefix(path.replace(/\\?\*$/, "")) : exists(`${root}${path}`);
  check("files", missing(pattern, isThere), 30);
});

/** Whether names of files begin with it: `test/migration/virtio*`. */
function isPrefix(path: string): boolean {
  const slash = path.lastIndexOf("/");
  const folder = `${root}${path.slice(0, slash)}`;
  return exists(folder) &&
    [...Deno.readDirSync(folder)].some(({ name }) => name.startsWith(path.slice(slash + 1)));
}

Deno.test("environment variables are read somewhere", () => {
  const sources = [...sourceFiles("src"), ...sourceFiles("test"), ...sourceFiles("scripts")]
    .map((path) => Deno.readTextFileSync(path)).join("\n");
  const pattern = /\b((?:MOLT|TEST|CPR|PEER)_[A-Z_]+)\b/g;
  check("variables", missing(pattern, (name) => sources.includes(name)), 8);
});

function sourceFiles(folder: string): string[] {
  return [...Deno.readDirSync(`${root}${folder}`)].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return sourceFiles(path);
    return /\.(ts|sh|c)$/.test(name) ? [`${root}${path}`] : [];
  });
}

Deno.test("molt's own names are those of parameters, capabilities, commands or events", () => {
  const sources = sourceFiles("src").map((path) => Deno.readTextFileSync(path)).join("\n");
  const isThere = (name: string) =>
    parameterDeclarations.has(name) || capabilityNames.some((known) => known === name) ||
    sources.includes(`"${name}"`);
  check("names", missing(/`(x-[A-Za-z_-]*[a-z])\b(?![-*])/g, isThere), 12);
});
