/**
 * QMP's input: a stream of JSON values, separated by anything or nothing. Errors are reported as soon
 * as they show, with QEMU's texts, and the stream goes on:
 *
 *   reading -> a value is complete -> reported -> reading
 *   reading -> a syntax error -> reported -> skipping, until the brackets balance -> reading
 *   reading -> a lexical error -> reported -> reading (the lexer skips)
 */
import { JsonLexer, type JsonToken } from "./lexer.ts";
import { decodeJsonString } from "./string.ts";
import { type JsonObject, JsonSyntaxError, type JsonValue } from "./value.ts";

/** Limits of one value, as QEMU's: bytes in tokens, number of tokens, depth. */
const TOKEN_SIZE_LIMIT = 64 << 20;
const TOKEN_COUNT_LIMIT = 2 << 20;
const NESTING_LIMIT = 1 << 10;

const MIN_INTEGER = -(1n << 63n);
const MAX_INTEGER = (1n << 64n) - 1n;

/** An unfinished array or object, and what must come next in it. */
type Container =
  | { readonly kind: "array"; readonly items: JsonValue[]; expects: "first" | "value" | "comma" }
  | {
    readonly kind: "object";
    readonly members: JsonObject;
    key: string;
    expects: "first" | "key" | "colon" | "value" | "comma";
  };

const asciiDecoder = new TextDecoder();

function fail(token: JsonToken, message: string): never {
  throw new JsonSyntaxError(`${token.line}:${token.column}: JSON parse error, ${message}`);
}

/** The text as C prints it: up to a NUL byte. */
function printable(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return asciiDecoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** The longest integer of 64 bits, with its sign. JSON has no leading zeros. */
const LONGEST_INTEGER = 20;

/** An integer's exact value where 64 bits hold it, else the nearest floating-point number. */
function integer(text: string): number | bigint {
  const number = Number(text);
  if (Number.isSafeInteger(number)) return number === 0 ? 0 : number;
  // A bigint of n digits takes time in n squared.
  if (text.length > LONGEST_INTEGER) return number;
  const exact = BigInt(text);
  return exact >= MIN_INTEGER && exact <= MAX_INTEGER ? exact : number;
}

/** The value of a token that is a whole value, `undefined` for structural characters. */
function scalar(token: JsonToken): JsonValue | undefined {
  switch (token.kind) {
    case "string":
      return decodeJsonString(token.bytes, (message) => fail(token, message));
    case "integer":
      return integer(asciiDecoder.decode(token.bytes));
    case "float":
      return Number(asciiDecoder.decode(token.bytes));
    case "keyword": {
      const text = asciiDecoder.decode(token.bytes);
      if (text === "true") return true;
      if (text === "false") return false;
      if (text === "null") return null;
      return fail(token, `invalid keyword '${text}'`);
    }
    default:
      return undefined;
  }
}

/** What the parser found: a value, or an error. */
export type JsonResult =
  | { readonly kind: "value"; readonly value: JsonValue }
  | { readonly kind: "error"; readonly error: JsonSyntaxError };

/** Feeds on bytes and yields values and errors in their order. */
export class JsonStreamParser {
  readonly #onResult: (result: JsonResult) => void;
  readonly #lexer: JsonLexer;
  #containers: Container[] = [];
  #skipping = false;
  #braces = 0;
  #brackets = 0;
  #tokenCount = 0;
  #tokenSize = 0;
  #settled = 0;

  constructor(onResult: (result: JsonResult) => void) {
    this.#onResult = onResult;
    this.#lexer = new JsonLexer(
      TOKEN_SIZE_LIMIT,
      (token) => this.#take(token),
      () => this.#refuseOversize(),
    );
  }

  /** How many bytes of the stream need not be fed again: all but those of an unfinished value. */
  get settled(): number {
    return this.#settled;
  }

  feed(bytes: Uint8Array): void {
    this.#lexer.feed(bytes);
  }

  #take(token: JsonToken): void {
    if (token.kind === "{") this.#braces++;
    else if (token.kind === "}") this.#braces--;
    else if (token.kind === "[") this.#brackets++;
    else if (token.kind === "]") this.#brackets--;
    this.#tokenCount++;
    this.#tokenSize += token.bytes.length;
    if (!this.#skipping) this.#attempt(() => this.#parse(token));
    const balanced = this.#braces === 0 && this.#brackets === 0;
    const astray = this.#braces < 0 || this.#brackets < 0 || token.kind === "error";
    if (!balanced && !astray) return;
    this.#restart();
    this.#settled = token.end;
  }

  #refuseOversize(): void {
    if (!this.#skipping) {
      this.#attempt(() => {
        throw new JsonSyntaxError("JSON token size limit exceeded");
      });
    }
    if (this.#braces === 0 && this.#brackets === 0) this.#restart();
  }

  #attempt(step: () => JsonValue | undefined): void {
    let value: JsonValue | undefined;
    try {
      value = step();
    } catch (error) {
      if (!(error instanceof JsonSyntaxError)) throw error;
      this.#skipping = true;
      this.#containers = [];
      return this.#onResult({ kind: "error", error });
    }
    if (value !== undefined) this.#onResult({ kind: "value", value });
  }

  #restart(): void {
    this.#containers = [];
    this.#skipping = false;
    this.#braces = 0;
    this.#brackets = 0;
    this.#tokenCount = 0;
    this.#tokenSize = 0;
  }

  /** Takes one token in; returns the value that it completes, if it does. */
  #parse(token: JsonToken): JsonValue | undefined {
    if (this.#tokenSize > TOKEN_SIZE_LIMIT) {
      throw new JsonSyntaxError("JSON token size limit exceeded");
    }
    if (this.#tokenCount > TOKEN_COUNT_LIMIT) {
      throw new JsonSyntaxError("JSON token count limit exceeded");
    }
    if (this.#braces + this.#brackets > NESTING_LIMIT) {
      throw new JsonSyntaxError("JSON nesting depth limit exceeded");
    }
    if (token.kind === "error") fail(token, `stray '${printable(token.bytes)}'`);
    const container = this.#containers.at(-1);
    if (container === undefined) return this.#value(token);
    return container.kind === "array"
      ? this.#inArray(container, token)
      : this.#inObject(container, token);
  }

  #inArray(container: Container & { kind: "array" }, token: JsonToken): JsonValue | undefined {
    if (container.expects === "comma") {
      if (token.kind === "]") return this.#close(token, container.items);
      if (token.kind !== ",") fail(token, "expected ',' or ']'");
      container.expects = "value";
      return undefined;
    }
    if (container.expects === "first" && token.kind === "]") {
      return this.#close(token, container.items);
    }
    return this.#value(token);
  }

  #inObject(container: Container & { kind: "object" }, token: JsonToken): JsonValue | undefined {
    switch (container.expects) {
      case "first":
      case "key":
        if (container.expects === "first" && token.kind === "}") {
          return this.#close(token, container.members);
        }
        if (token.kind !== "string") fail(token, "expecting key");
        container.key = decodeJsonString(token.bytes, (message) => fail(token, message));
        container.expects = "colon";
        return undefined;
      case "colon":
        if (token.kind !== ":") fail(token, "expecting ':'");
        container.expects = "value";
        return undefined;
      case "value":
        return this.#value(token);
      case "comma":
        if (token.kind === "}") return this.#close(token, container.members);
        if (token.kind !== ",") fail(token, "expected ',' or '}'");
        container.expects = "key";
        return undefined;
    }
  }

  /** A token where a value must begin. */
  #value(token: JsonToken): JsonValue | undefined {
    if (token.kind === "{") {
      const members: JsonObject = Object.create(null);
      this.#containers.push({ kind: "object", members, key: "", expects: "first" });
      return undefined;
    }
    if (token.kind === "[") {
      this.#containers.push({ kind: "array", items: [], expects: "first" });
      return undefined;
    }
    const value = scalar(token);
    if (value === undefined) fail(token, "expecting value");
    return this.#complete(token, value);
  }

  #close(token: JsonToken, value: JsonValue): JsonValue | undefined {
    this.#containers.pop();
    return this.#complete(token, value);
  }

  /** Puts a finished value where it belongs; returns it if that is the top. */
  #complete(token: JsonToken, value: JsonValue): JsonValue | undefined {
    const container = this.#containers.at(-1);
    if (container === undefined) return value;
    if (container.kind === "array") {
      container.items.push(value);
    } else {
      if (Object.hasOwn(container.members, container.key)) fail(token, "duplicate key");
      container.members[container.key] = value;
    }
    container.expects = "comma";
    return undefined;
  }
}
