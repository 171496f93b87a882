/**
 * JSON as QEMU reads it: RFC 8259, and strings may stand in single quotes. Errors say line and column
 * (both from 1) as QEMU's do: `1:6: JSON parse error, expecting value`.
 */
import { OptionError } from "./errors.ts";
import type { Tree, TreeObject } from "./syntax.ts";
import { isObject } from "./syntax.ts";

/** How deep arrays and objects may nest, as in QEMU. */
const deepest = 1024;

interface Token {
  readonly kind: "punctuation" | "string" | "number" | "keyword" | "end";
  /** As written. */
  readonly text: string;
  readonly start: number;
}

const spaces = /[ \t\r\n]*/y;
const punctuation = /[{}[\]:,]/y;
const doubleQuoted = /"(?:[^"\\]|\\[^])*"/y;
const singleQuoted = /'(?:[^'\\]|\\[^])*'/y;
const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9a-zA-Z.])/y;
const keyword = /[a-zA-Z]+/y;

const escapes: Readonly<Record<string, string>> = {
  "'": "'",
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

class JsonReader {
  readonly #text: string;
  readonly #where: string;
  #token: Token;
  #end = 0;

  constructor(text: string, where: string) {
    this.#text = text;
    this.#where = where;
    this.#token = this.#scan();
  }

  read(): Tree {
    const value = this.#value(0);
    if (this.#token.kind !== "end") {
      throw new OptionError(`${this.#where}Expecting at most one JSON value`);
    }
    return value;
  }

  #fail(problem: string, token = this.#token): never {
    const before = this.#text.slice(0, token.start).split("\n");
    const column = (before.at(-1)?.length ?? 0) + 1;
    throw new OptionError(
      `${this.#where}${before.length}:${column}: JSON parse error, ${problem}`,
    );
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#end;
    const text = pattern.exec(this.#text)?.[0];
    if (text !== undefined) this.#end += text.length;
    return text;
  }

  #scan(): Token {
    this.#match(spaces);
    const start = this.#end;
    if (start === this.#text.length) return { kind: "end", text: "", start };
    const kinds = [
      ["punctuation", punctuation],
      ["string", doubleQuoted],
      ["string", singleQuoted],
      ["number", number],
      ["keyword", keyword],
    ] as const;
    for (const [kind, pattern] of kinds) {
      const text = this.#match(pattern);
      if (text !== undefined) return { kind, text, start };
    }
    const stray = /["'][^]*|[-+.0-9a-zA-Z]+|[^]/y;
    return this.#fail(`stray '${this.#match(stray) ?? ""}'`, { kind: "end", text: "", start });
  }

  #advance(): Token {
    const token = this.#token;
    this.#token = this.#scan();
    return token;
  }

  #expect(text: string, problem: string): void {
    if (this.#token.kind === "end") this.#fail("premature end of input");
    if (this.#token.kind !== "punctuation" || this.#token.text !== text) this.#fail(problem);
    this.#advance();
  }

  #at(text: string): boolean {
    return this.#token.kind === "punctuation" && this.#token.text === text;
  }

  #value(depth: number): Tree {
    if (depth > deepest) this.#fail("JSON nesting depth limit exceeded");
    const { kind, text } = this.#token;
    switch (kind) {
      case "end":
        return this.#fail("premature end of input");
      case "string":
        return this.#string(this.#advance());
      case "number": {
        this.#advance();
        const value = Number(text);
        const whole = /^-?[0-9]+$/.test(text);
        return whole && !Number.isSafeInteger(value) ? BigInt(text) : value;
      }
      case "keyword":
        if (text !== "true" && text !== "false" && text !== "null") {
          this.#fail(`invalid keyword '${text}'`);
        }
        this.#advance();
        return text === "null" ? null : text === "true";
      case "punctuation":
        if (text === "{") return this.#object(depth);
        if (text === "[") return this.#array(depth);
        return this.#fail("expecting value");
    }
  }

  #object(depth: number): TreeObject {
    const members = new Map<string, Tree>();
    this.#advance();
    if (!this.#at("}")) {
      for (;;) {
        if (this.#token.kind === "end") this.#fail("premature end of input");
        if (this.#token.kind !== "string") this.#fail("expecting key");
        const key = this.#string(this.#advance());
        this.#expect(":", "expecting ':'");
        const token = this.#token;
        const value = this.#value(depth + 1);
        if (members.has(key)) this.#fail("duplicate key", token);
        members.set(key, value);
        if (this.#at("}")) break;
        this.#expect(",", "expected ',' or '}'");
      }
    }
    this.#advance();
    return Object.fromEntries(members);
  }

  #array(depth: number): readonly Tree[] {
    const items: Tree[] = [];
    this.#advance();
    if (!this.#at("]")) {
      for (;;) {
        items.push(this.#value(depth + 1));
        if (this.#at("]")) break;
        this.#expect(",", "expected ',' or ']'");
      }
    }
    this.#advance();
    return items;
  }

  #string(token: Token): string {
    const inner = token.text.slice(1, -1);
    const text = inner.replaceAll(/\\(?:u([0-9a-fA-F]{4})|([^]))/g, (_, hex, letter) => {
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      const plain = escapes[letter];
      return plain ?? this.#fail("invalid escape sequence in string", token);
    });
    const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.exec(
      text,
    );
    if (lone !== null) {
      const code = lone[0].charCodeAt(0).toString(16);
      this.#fail(`\\u${code} is not a valid Unicode character`, token);
    }
    return text;
  }
}

/** Reads JSON text that must be an object. `where` (`-object {...}: `) stands before errors. */
export function parseJsonObject(text: string, where: string): TreeObject {
  const value = new JsonReader(text, where).read();
  if (!isObject(value)) throw new OptionError(`${where}Expecting a JSON object`);
  return value;
}
