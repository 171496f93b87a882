/**
 * Arithmetic in monitor commands, on signed 64-bit integers: numbers (0x hexadecimal, 0 octal),
 * characters ('a'), registers ($rip), ( ) + - ~ and, from binding loosest to tightest, + -, then
 * & | ^, then * / %.
 */

/** An expression that has no value. The message is the one QEMU prints. */
export class ExpressionError extends Error {
  override readonly name = "ExpressionError";
}

/** Digits that a number of 64 bits has at most, whatever its base. */
const MOST_DIGITS = 22;
/** How deep expressions may nest: each level takes of the program's stack. */
const DEPTH_LIMIT = 256;

/** Gives a register's value, `undefined` if there is no such register. */
export type RegisterReader = (name: string) => bigint | undefined;

function fail(message: string): never {
  throw new ExpressionError(message);
}

function isSpace(character: string): boolean {
  return /\s/.test(character);
}

class Evaluator {
  readonly #text: string;
  readonly #register: RegisterReader;
  #at: number;
  #depth = 0;

  constructor(text: string, at: number, register: RegisterReader) {
    this.#text = text;
    this.#at = at;
    this.#register = register;
  }

  get at(): number {
    return this.#at;
  }

  sum(): bigint {
    let value = this.#logic();
    for (;;) {
      if (this.#take("+")) value = BigInt.asIntN(64, value + this.#logic());
      else if (this.#take("-")) value = BigInt.asIntN(64, value - this.#logic());
      else return value;
    }
  }

  #logic(): bigint {
    let value = this.#product();
    for (;;) {
      if (this.#take("&")) value &= this.#product();
      else if (this.#take("|")) value |= this.#product();
      else if (this.#take("^")) value ^= this.#product();
      else return value;
    }
  }

  #product(): bigint {
    let value = this.#unary();
    for (;;) {
      const multiply = this.#take("*");
      const divide = !multiply && this.#take("/");
      if (!multiply && !divide && !this.#take("%")) return value;
      const other = this.#unary();
      if (!multiply && other === 0n) fail("division by zero");
      value = BigInt.asIntN(64, multiply ? value * other : divide ? value / other : value % other);
    }
  }

  #unary(): bigint {
    if (++this.#depth > DEPTH_LIMIT) fail("expression nested too deeply");
    const value = this.#operand();
    this.#depth--;
    return value;
  }

  #operand(): bigint {
    if (this.#take("+")) return this.#unary();
    if (this.#take("-")) return BigInt.asIntN(64, -this.#unary());
    if (this.#take("~")) return ~this.#unary();
    if (this.#take("(")) {
      const value = this.sum();
      if (!this.#take(")")) fail("')' expected");
      return value;
    }
    if (this.#take("'")) return this.#character();
    if (this.#take("$")) return this.#registerValue();
    return this.#number();
  }

  #character(): bigint {
    const character = this.#text[this.#at++] ?? fail("character constant expected");
    if (this.#text[this.#at++] !== "'") fail("missing terminating ' character");
    return BigInt(character.charCodeAt(0));
  }

  #registerValue(): bigint {
    const name = /^[A-Za-z0-9_.]*/.exec(this.#text.slice(this.#at))?.[0] ?? "";
    this.#at += name.length;
    this.#skipSpace();
    return this.#register(name) ?? fail("unknown register");
  }

  #number(): bigint {
    this.#skipSpace();
    const rest = this.#text.slice(this.#at);
    if (rest === "") fail("unexpected end of expression");
    const digits = /^(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)/.exec(rest)?.[0];
    if (digits === undefined) fail(`invalid char '${rest[0]}' in expression`);
    const octal = /^0[0-7]/.test(digits);
    if (digits.replace(/^0[xX]?0*/, "").length > MOST_DIGITS) fail("number too large");
    const value = BigInt(octal ? `0o${digits.slice(1)}` : digits);
    if (value >= 1n << 64n) fail("number too large");
    this.#at += digits.length;
    this.#skipSpace();
    return BigInt.asIntN(64, value);
  }

  /** Takes `operator` if it comes next, and the space after it. */
  #take(operator: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== operator) return false;
    this.#at++;
    if (operator !== "'") this.#skipSpace();
    return true;
  }

  #skipSpace(): void {
    while (isSpace(this.#text[this.#at] ?? "")) this.#at++;
  }
}

/** The value of the expression at `at` in `text`, and where it ended. */
export function evaluate(
  text: string,
  at: number,
  register: RegisterReader,
): { value: bigint; end: number } {
  const evaluator = new Evaluator(text, at, register);
  const value = evaluator.sum();
  return { value, end: evaluator.at };
}
