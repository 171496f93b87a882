/**
 * QEMU's test protocol (QEMU documentation, devel/qtest): a client drives the machine's buses and
 * clock in lines of words that single spaces separate.
 *
 *   client: COMMAND [ARGUMENT...]\n
 *   server: OK [VALUE]\n              it was done
 *           FAIL [REASON]\n           it was not
 *           ERR invalid argument size\n
 *
 * One answer a command, in their order. Numbers are decimal, 0x hexadecimal or 0 octal. This file
 * knows the lines' form only; session.ts has the states of a connection.
 */
import type { AccessSize } from "../devices/device.ts";

/** One command, read and checked. */
export type QtestRequest =
  | { readonly kind: "endianness" }
  | { readonly kind: "in"; readonly port: number; readonly size: AccessSize }
  | {
    readonly kind: "out";
    readonly port: number;
    readonly size: AccessSize;
    readonly value: number;
  }
  /** readb to readq: a little-endian number. */
  | { readonly kind: "read number"; readonly address: number; readonly size: number }
  /** writeb to writeq, as the bytes that go to memory. */
  | {
    readonly kind: "write";
    readonly address: number;
    readonly bytes: Uint8Array<ArrayBuffer>;
    /** What a client reads in the log. */
    readonly mismatch?: string;
  }
  | {
    readonly kind: "read";
    readonly address: number;
    readonly length: number;
    readonly encoding: "hexadecimal" | "base64";
  }
  | {
    readonly kind: "fill";
    readonly address: number;
    readonly length: number;
    readonly value: number;
  }
  /** Without `nanoseconds`: to the next timer. */
  | { readonly kind: "clock step"; readonly nanoseconds: bigint | undefined }
  | { readonly kind: "clock set"; readonly nanoseconds: bigint }
  /** irq_intercept_in and _out, set_irq_in. */
  | { readonly kind: "interrupt"; readonly device: string }
  | { readonly kind: "module load" };

/** A command that cannot be followed. The message is the answer. */
export class QtestError extends Error {
  override readonly name = "QtestError";
}

/** Most bytes that one command moves. */
export const MAX_TRANSFER = 16 << 20;

/** Most bytes of a line: the longest transfer in hexadecimal, and its command. */
export const MAX_LINE = 2 * MAX_TRANSFER + 256;

const HIGHEST_PORT = 0xffff;
const sizes: Readonly<Record<string, number>> = { b: 1, w: 2, l: 4, q: 8 };

/** Reads one line without its end. Throws a {@linkcode QtestError}. */
export function parseRequest(line: string): QtestRequest {
  const words = new Words(line.split(" "));
  const { command } = words;
  const port = /^(in|out)([bwl])$/.exec(command);
  if (port) return portAccess(words, port[1] === "in", accessSize(port[2]));
  const number = /^(read|write)([bwlq])$/.exec(command);
  if (number) return numberAccess(words, number[1] === "read", sizes[number[2] ?? ""] ?? 1);
  switch (command) {
    case "endianness":
      return { kind: "endianness" };
    case "read":
    case "b64read":
      return readRequest(words, command === "read" ? "hexadecimal" : "base64");
    case "write":
    case "b64write":
      return writeRequest(words, command === "write" ? decodeHexadecimal : decodeBase64);
    case "memset": {
      const [address, length, value] = [words.address(1), words.address(2), words.number(3)];
      return { kind: "fill", address, length, value: Number(value & 0xffn) };
    }
    case "clock_step":
      return { kind: "clock step", nanoseconds: words.has(1) ? words.signed(1) : undefined };
    case "clock_set":
      return { kind: "clock set", nanoseconds: words.signed(1) };
    case "irq_intercept_in":
    case "irq_intercept_out":
      return { kind: "interrupt", device: words.text(1) };
    case "set_irq_in":
      return { kind: "interrupt", device: words.text(4) && words.text(1) };
    case "module_load":
      return { kind: "module load" };
    default:
      throw new QtestError(`FAIL Unknown command '${command}'`);
  }
}

/** A line's words, with checks of each. */
class Words {
  readonly #words: readonly string[];

  constructor(words: readonly string[]) {
    this.#words = words;
  }

  get command(): string {
    return this.#words[0] ?? "";
  }

  has(index: number): boolean {
    return this.#words[index] !== undefined;
  }

  text(index: number): string {
    const word = this.#words[index];
    if (word === undefined) {
      throw new QtestError(`FAIL ${this.command}: argument ${index} is missing`);
    }
    return word;
  }

  /** A number of 64 bits; a negative one stands for its two's complement. */
  number(index: number): bigint {
    return BigInt.asUintN(64, this.#integer(index));
  }

  signed(index: number): bigint {
    const value = this.#integer(index);
    if (BigInt.asIntN(64, value) !== value) this.#refuse(index, "is out of range");
    return value;
  }

  /** An address or length. Those beyond 2^53 lose low bits; nothing of the machine is there. */
  address(index: number): number {
    return Number(this.number(index));
  }

  /** How much one command is to move. */
  transferLength(index: number): number {
    const length = this.address(index);
    if (length > MAX_TRANSFER) this.#refuse(index, `is more than ${MAX_TRANSFER} bytes`);
    return length;
  }

  port(index: number): number {
    const port = this.number(index);
    if (port > HIGHEST_PORT) this.#refuse(index, "is not an I/O port");
    return Number(port);
  }

  #integer(index: number): bigint {
    const word = this.text(index);
    const [, sign, hexadecimal, octal, decimal] =
      /^([+-]?)(?:0[xX]([0-9a-fA-F]{1,16})|0([0-7]{1,22})|(0|[1-9][0-9]{0,19}))$/.exec(word) ?? [];
    const magnitude = hexadecimal !== undefined
      ? BigInt(`0x${hexadecimal}`)
      : octal !== undefined
      ? BigInt(`0o${octal}`)
      : decimal !== undefined
      ? BigInt(decimal)
      : this.#refuse(index, "is not a number");
    if (BigInt.asUintN(64, magnitude) !== magnitude) this.#refuse(index, "is out of range");
    return sign === "-" ? -magnitude : magnitude;
  }

  #refuse(index: number, reason: string): never {
    const word = this.text(index);
    const shown = word.length > 40 ? `${word.slice(0, 40)}...` : word;
    throw new QtestError(`FAIL ${this.command}: '${shown}' ${reason}`);
  }
}

function accessSize(letter: string | undefined): AccessSize {
  return letter === "l" ? 4 : letter === "w" ? 2 : 1;
}

function portAccess(words: Words, read: boolean, size: AccessSize): QtestRequest {
  const port = words.port(1);
  if (read) return { kind: "in", port, size };
  const value = Number(BigInt.asUintN(8 * size, words.number(2)));
  return { kind: "out", port, size, value };
}

function numberAccess(words: Words, read: boolean, size: number): QtestRequest {
  const address = words.address(1);
  if (read) return { kind: "read number", address, size };
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, words.number(2), true);
  return { kind: "write", address, bytes: bytes.subarray(0, size) };
}

function readRequest(words: Words, encoding: "hexadecimal" | "base64"): QtestRequest {
  const address = words.address(1);
  const length = words.transferLength(2);
  if (length === 0) throw new QtestError("ERR invalid argument size");
  return { kind: "read", address, length, encoding };
}

function writeRequest(
  words: Words,
  decode: (data: string) => Uint8Array<ArrayBuffer>,
): QtestRequest {
  const address = words.address(1);
  const length = words.transferLength(2);
  const data = words.text(3);
  const SHORTEST = 3;
  if (data.length < SHORTEST) throw new QtestError("ERR invalid argument size");
  const decoded = decode(data);
  // What is missing is written as zeros; what is too much is left out.
  const bytes = new Uint8Array(length);
  bytes.set(decoded.subarray(0, length));
  const request = { kind: "write", address, bytes } as const;
  if (words.command !== "b64write" || decoded.length === length) return request;
  const mismatch = `b64write: data length mismatch (told ${length}, found ${decoded.length})`;
  return { ...request, mismatch };
}

/** Digits after `0x`; an odd last one does not count. */
function decodeHexadecimal(data: string): Uint8Array<ArrayBuffer> {
  const digits = data.slice(2);
  if (!data.startsWith("0x") || /[^0-9a-fA-F]/.test(digits)) {
    throw new QtestError("FAIL write: the data are not hexadecimal digits after 0x");
  }
  const bytes = new Uint8Array(digits.length >> 1);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  }
  return bytes;
}

function decodeBase64(data: string): Uint8Array<ArrayBuffer> {
  try {
    const characters = atob(data);
    return Uint8Array.from(characters, (character) => character.charCodeAt(0));
  } catch (cause) {
    throw new QtestError("FAIL b64write: the data are not base64", { cause });
  }
}

/** `bytes` as a read's answer has them. */
export function encodeBytes(
  bytes: Uint8Array<ArrayBuffer>,
  encoding: "hexadecimal" | "base64",
): string {
  if (encoding === "hexadecimal") {
    const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"));
    return `0x${digits.join("")}`;
  }
  const PIECE = 0x8000;
  let characters = "";
  for (let done = 0; done < bytes.length; done += PIECE) {
    characters += String.fromCharCode(...bytes.subarray(done, done + PIECE));
  }
  return btoa(characters);
}
