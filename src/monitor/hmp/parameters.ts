/** The parameters of human monitor commands: how each kind is read from the command line. */
import { evaluate, type RegisterReader } from "./expression.ts";

/** What is wrong with a command line, for the user. */
export class HumanArgumentError extends Error {
  override readonly name = "HumanArgumentError";
}

/** How `print`, `x` and `xp` show values: `/` count format size. */
export interface DisplayFormat {
  readonly count: number;
  readonly format: "x" | "d" | "u" | "o" | "c" | "i";
  /** Bytes. */
  readonly size: 1 | 2 | 4 | 8;
}

/** Values that one command shows at most. */
const COUNT_LIMIT = 65536;

/** Reads a command line's arguments from left to right. */
export class ArgumentReader {
  readonly #text: string;
  readonly #command: string;
  readonly #flags: ReadonlySet<string>;
  readonly register: RegisterReader;
  /** The format used where a command line gives none. */
  readonly lastFormat: DisplayFormat;
  #at = 0;

  constructor(options: {
    readonly text: string;
    /** The command's names, for error texts. */
    readonly command: string;
    /** Letters of all flags that the command knows. */
    readonly flags: ReadonlySet<string>;
    readonly register: RegisterReader;
    readonly lastFormat: DisplayFormat;
  }) {
    this.#text = options.text;
    this.#command = options.command;
    this.#flags = options.flags;
    this.register = options.register;
    this.lastFormat = options.lastFormat;
  }

  /** True if nothing but space follows. */
  get atEnd(): boolean {
    this.#skipSpace();
    return this.#at >= this.#text.length;
  }

  /** A word, or text in double quotes; `undefined` at the end. */
  word(): string | undefined {
    if (this.atEnd) return undefined;
    if (this.#text[this.#at] !== '"') {
      const word = /^\S+/.exec(this.#text.slice(this.#at))?.[0] ?? "";
      this.#at += word.length;
      return word;
    }
    let word = "";
    for (this.#at++;;) {
      const character = this.#text[this.#at++];
      if (character === undefined) return this.fail("unterminated string");
      if (character === '"') return word;
      word += character === "\\" ? this.#escape() : character;
    }
  }

  /** All that follows; `undefined` at the end. */
  rest(): string | undefined {
    if (this.atEnd) return undefined;
    const rest = this.#text.slice(this.#at).trimEnd();
    this.#at = this.#text.length;
    return rest;
  }

  expression(): bigint {
    this.#skipSpace();
    const { value, end } = evaluate(this.#text, this.#at, this.register);
    this.#at = end;
    return value;
  }

  /** True, and past it, if the flag `-letter` comes next. */
  flag(letter: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== "-") return false;
    const given = this.#text[this.#at + 1] ?? "";
    if (!this.#flags.has(given)) return this.fail(`unsupported option -${given}`);
    if (given !== letter) return false;
    this.#at += 2;
    return true;
  }

  /** `/` count format size, in parts or not at all. */
  format(): DisplayFormat {
    this.#skipSpace();
    let { format, size } = this.lastFormat;
    const given = /^\/(\S*)/.exec(this.#text.slice(this.#at));
    if (given === null) return { count: 1, format, size };
    this.#at += given[0].length;
    const [, digits = "", letters = ""] = /^(\d*)(.*)$/.exec(given[1] ?? "") ?? [];
    for (const letter of letters) {
      if (isFormat(letter)) format = letter;
      else if (isSize(letter)) size = sizes[letter];
      else throw new HumanArgumentError(`invalid char in format: '${letter}'`);
    }
    const count = digits === "" ? 1 : Number(digits);
    if (count > COUNT_LIMIT) {
      throw new HumanArgumentError(`count ${digits} is too large: at most ${COUNT_LIMIT}`);
    }
    return { count, format, size };
  }

  /** Ends the reading: nothing may follow. */
  finish(): void {
    if (!this.atEnd) this.fail("extraneous characters at the end of line");
  }

  fail(message: string): never {
    throw new HumanArgumentError(`${this.#command}: ${message}`);
  }

  #escape(): string {
    const character = this.#text[this.#at++] ?? "";
    const escapes: Readonly<Record<string, string>> = {
      n: "\n",
      r: "\r",
      "\\": "\\",
      "'": "'",
      '"': '"',
    };
    return escapes[character] ?? this.fail(`unsupported escape code: '\\${character}'`);
  }

  #skipSpace(): void {
    while (/\s/.test(this.#text[this.#at] ?? "")) this.#at++;
  }
}

const sizes = { b: 1, h: 2, w: 4, g: 8 } as const;

function isSize(letter: string): letter is keyof typeof sizes {
  return letter in sizes;
}

function isFormat(letter: string): letter is DisplayFormat["format"] {
  return "xduoci".includes(letter);
}

/** One parameter. */
export interface Parameter<Value> {
  read(input: ArgumentReader): Value;
  /** How it stands in a command's usage, its name being `name`. */
  usage(name: string): string;
  /** A flag's letter. */
  readonly flag?: string;
}

/** A word that must be there. */
export const text: Parameter<string> = {
  read: (input) => input.word() ?? input.fail("string expected"),
  usage: (name) => name,
};

/** The name of a file, which must be there. */
export const filename: Parameter<string> = {
  read: (input) => input.word() ?? input.fail("filename expected"),
  usage: (name) => name,
};

/** A word that may be left out. */
export const optionalText: Parameter<string | undefined> = {
  read: (input) => input.word(),
  usage: (name) => `[${name}]`,
};

/** `on` or `off`. */
export const onOff: Parameter<boolean> = {
  read: (input) => {
    const word = input.word();
    if (word === "on" || word === "off") return word === "on";
    throw new HumanArgumentError("Expected 'on' or 'off'");
  },
  usage: (name) => name,
};

/** All that follows, which must be something. */
export const rest: Parameter<string> = {
  read: (input) => input.rest() ?? input.fail("string expected"),
  usage: (name) => name,
};

/** An expression. */
export const integer: Parameter<bigint> = {
  read: (input) => input.expression(),
  usage: (name) => name,
};

/** An expression that may be left out. */
export const optionalInteger: Parameter<bigint | undefined> = {
  read: (input) => input.atEnd ? undefined : input.expression(),
  usage: (name) => `[${name}]`,
};

/** `/fmt`. */
export const format: Parameter<DisplayFormat> = {
  read: (input) => input.format(),
  usage: () => "/fmt",
};

/** `-letter`, which may be left out. */
export function flag(letter: string): Parameter<boolean> {
  return { read: (input) => input.flag(letter), usage: () => `[-${letter}]`, flag: letter };
}
