/**
 * Splits a stream of bytes into the tokens of QMP's JSON dialect (RFC 8259, and strings in single
 * quotes), however the bytes are cut into packets.
 *
 *   start -> a token's first byte -> inside a token -> the token is complete -> start
 *   anything that fits no token -> an error token -> recovery, until a byte that may begin anew:
 *   a structural character, a control character but TAB, 0xFE or 0xFF -> start
 */

/** A lexical unit and where it began. */
export interface JsonToken {
  readonly kind:
    | "{"
    | "}"
    | "["
    | "]"
    | ":"
    | ","
    | "string"
    | "keyword"
    | "integer"
    | "float"
    | "error";
  /** The bytes as they came, quotes included; only valid during the callback. */
  readonly bytes: Uint8Array;
  /** Lines are counted from 1 in the whole stream, columns in bytes from 1. */
  readonly line: number;
  readonly column: number;
  /** Bytes of the stream up to the token's end. */
  readonly end: number;
}

type State =
  | "start"
  | "recovery"
  | "double-quoted"
  | "double-quoted escape"
  | "single-quoted"
  | "single-quoted escape"
  | "keyword"
  | "minus"
  | "zero"
  | "integer"
  | "point"
  | "fraction"
  | "exponent"
  | "exponent sign"
  | "exponent digits";

const TAB = 0x09;
const NEWLINE = 0x0a;
const DOUBLE_QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const BACKSLASH = 0x5c;

const structural = new Map<number, JsonToken["kind"]>([
  [0x7b, "{"],
  [0x7d, "}"],
  [0x5b, "["],
  [0x5d, "]"],
  [0x3a, ":"],
  [0x2c, ","],
]);

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function isLowerCase(byte: number): boolean {
  return byte >= 0x61 && byte <= 0x7a;
}

function isExponent(byte: number): boolean {
  return byte === 0x65 || byte === 0x45;
}

function isWhitespace(byte: number): boolean {
  return byte === 0x20 || byte === TAB || byte === NEWLINE || byte === 0x0d;
}

/** A byte that may stand in a string: no control character, and not the bytes that UTF-8 never has. */
function isText(byte: number): boolean {
  return byte >= 0x20 && byte <= 0xfd;
}

/** A byte within a string that neither ends it nor begins an escape sequence. */
function isPlain(byte: number, quote: number): boolean {
  return isText(byte) && byte !== quote && byte !== BACKSLASH;
}

/** What a byte does to an unfinished token: go on in a state, complete it, or make it an error. */
type Step =
  | { readonly kind: "go"; readonly state: State }
  | { readonly kind: "complete"; readonly token: JsonToken["kind"]; readonly includesByte: boolean }
  | { readonly kind: "error" };

const error: Step = { kind: "error" };
const completeString: Step = { kind: "complete", token: "string", includesByte: true };
const completeKeyword: Step = { kind: "complete", token: "keyword", includesByte: false };
const completeInteger: Step = { kind: "complete", token: "integer", includesByte: false };
const completeFloat: Step = { kind: "complete", token: "float", includesByte: false };

function go(state: State): Step {
  return { kind: "go", state };
}

const steps = {
  doubleQuoted: go("double-quoted"),
  singleQuoted: go("single-quoted"),
  keyword: go("keyword"),
  zero: go("zero"),
  integer: go("integer"),
  point: go("point"),
  fraction: go("fraction"),
  exponent: go("exponent"),
  exponentSign: go("exponent sign"),
  exponentDigits: go("exponent digits"),
} as const;

function stepInString(byte: number, quote: number, stay: Step, escape: State): Step {
  if (byte === quote) return completeString;
  if (byte === BACKSLASH) return go(escape);
  return isText(byte) ? stay : error;
}

function stepInside(state: Exclude<State, "start" | "recovery">, byte: number): Step {
  switch (state) {
    case "double-quoted":
      return stepInString(byte, DOUBLE_QUOTE, steps.doubleQuoted, "double-quoted escape");
    case "single-quoted":
      return stepInString(byte, SINGLE_QUOTE, steps.singleQuoted, "single-quoted escape");
    case "double-quoted escape":
      return isText(byte) ? steps.doubleQuoted : error;
    case "single-quoted escape":
      return isText(byte) ? steps.singleQuoted : error;
    case "keyword":
      return isLowerCase(byte) ? steps.keyword : completeKeyword;
    case "minus":
      return byte === ZERO ? steps.zero : isDigit(byte) ? steps.integer : error;
    case "zero":
      if (isDigit(byte)) return error;
      return byte === POINT ? steps.point : completeInteger;
    case "integer":
      if (isDigit(byte)) return steps.integer;
      if (isExponent(byte)) return steps.exponent;
      return byte === POINT ? steps.point : completeInteger;
    case "point":
      return isDigit(byte) ? steps.fraction : error;
    case "fraction":
      if (isDigit(byte)) return steps.fraction;
      return isExponent(byte) ? steps.exponent : completeFloat;
    case "exponent":
      if (isDigit(byte)) return steps.exponentDigits;
      return byte === MINUS || byte === 0x2b ? steps.exponentSign : error;
    case "exponent sign":
      return isDigit(byte) ? steps.exponentDigits : error;
    case "exponent digits":
      return isDigit(byte) ? steps.exponentDigits : completeFloat;
  }
}

function stateAfterFirst(byte: number): State | undefined {
  if (byte === DOUBLE_QUOTE) return "double-quoted";
  if (byte === SINGLE_QUOTE) return "single-quoted";
  if (byte === MINUS) return "minus";
  if (byte === ZERO) return "zero";
  if (isDigit(byte)) return "integer";
  if (isLowerCase(byte)) return "keyword";
  return undefined;
}

/** Yields the tokens of a stream, one byte at a time. */
export class JsonLexer {
  readonly #onToken: (token: JsonToken) => void;
  /** Called instead of growing a token beyond {@linkcode limit}; the token is dropped. */
  readonly #onOversize: () => void;
  readonly #limit: number;
  #state: State = "start";
  #text = new Uint8Array(256);
  #length = 0;
  /** Bytes fed, and among them the one being looked at. */
  #fed = 0;
  #line = 1;
  #column = 0;
  #tokenLine = 1;
  #tokenColumn = 1;

  constructor(limit: number, onToken: (token: JsonToken) => void, onOversize: () => void) {
    this.#limit = limit;
    this.#onToken = onToken;
    this.#onOversize = onOversize;
  }

  feed(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const run = this.#runLength(bytes, at);
      if (run > 0) this.#appendRun(bytes.subarray(at, at + run));
      else this.#feed(bytes[at] ?? 0);
      at += Math.max(run, 1);
    }
  }

  /** How many bytes from `at` on change nothing but the length of the token. */
  #runLength(bytes: Uint8Array, at: number): number {
    let end = at;
    switch (this.#state) {
      case "double-quoted":
        while (end < bytes.length && isPlain(bytes[end] ?? 0, DOUBLE_QUOTE)) end++;
        break;
      case "single-quoted":
        while (end < bytes.length && isPlain(bytes[end] ?? 0, SINGLE_QUOTE)) end++;
        break;
      case "integer":
      case "fraction":
      case "exponent digits":
        while (end < bytes.length && isDigit(bytes[end] ?? 0)) end++;
        break;
    }
    return Math.min(end - at, this.#limit - this.#length);
  }

  #appendRun(run: Uint8Array): void {
    this.#reserve(this.#length + run.length);
    this.#text.set(run, this.#length);
    this.#length += run.length;
    this.#fed += run.length;
    this.#column += run.length;
  }

  #feed(byte: number): void {
    this.#fed++;
    const { line, column } = { line: this.#line, column: this.#column };
    if (byte === NEWLINE) {
      this.#line++;
      this.#column = 0;
    } else {
      this.#column++;
    }
    if (this.#state === "recovery") {
      const beginsAnew = (byte < 0x20 && byte !== TAB) || byte > 0xfd || structural.has(byte);
      if (!beginsAnew) return;
      this.#state = "start";
      return this.#begin(byte, this.#line, this.#column + 1);
    }
    if (this.#state === "start") return this.#begin(byte, line, column + 1);
    const step = stepInside(this.#state, byte);
    switch (step.kind) {
      case "go":
        this.#state = step.state;
        return this.#append(byte);
      case "complete":
        if (step.includesByte) this.#append(byte);
        this.#emit(step.token, step.includesByte ? this.#fed : this.#fed - 1);
        // QEMU counts a byte that it looks at twice as two columns.
        if (!step.includesByte) this.#begin(byte, this.#line, this.#column + 1);
        return;
      case "error":
        this.#append(byte);
        return this.#emit("error", this.#fed);
    }
  }

  /** Takes the first byte of a token, or white space. */
  #begin(byte: number, line: number, column: number): void {
    if (isWhitespace(byte)) return;
    this.#tokenLine = line;
    this.#tokenColumn = column;
    this.#append(byte);
    const kind = structural.get(byte);
    if (kind !== undefined) return this.#emit(kind, this.#fed);
    const state = stateAfterFirst(byte);
    if (state === undefined) return this.#emit("error", this.#fed);
    this.#state = state;
  }

  #append(byte: number): void {
    if (this.#length >= this.#limit) {
      this.#reset("start");
      return this.#onOversize();
    }
    this.#reserve(this.#length + 1);
    this.#text[this.#length++] = byte;
  }

  /** Makes room for a token of so many bytes. */
  #reserve(length: number): void {
    if (length <= this.#text.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#text.length, length));
    larger.set(this.#text);
    this.#text = larger;
  }

  #emit(kind: JsonToken["kind"], end: number): void {
    const bytes = this.#text.subarray(0, this.#length);
    const token = { kind, bytes, line: this.#tokenLine, column: this.#tokenColumn, end };
    this.#reset(kind === "error" ? "recovery" : "start");
    this.#onToken(token);
  }

  #reset(state: State): void {
    this.#state = state;
    this.#length = 0;
    // Do not hold on to the memory of one huge token.
    if (this.#text.length > 65536) this.#text = new Uint8Array(256);
  }
}
