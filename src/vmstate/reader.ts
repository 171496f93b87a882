/** Bounds-checked reading of big-endian items from bytes. */
import { halvesOf } from "./halves.ts";
import { OutOfDataError, VmStateError } from "./errors.ts";

/** Where one field lay in the stream and what it held. */
export interface FieldTrace {
  /** Wire names from the outermost structure inwards, e.g. `state.recv_fifo.num`. */
  readonly path: string;
  /** Byte offset in the stream. */
  readonly offset: number;
  /** Length in bytes. */
  readonly size: number;
  /** QEMU's name of the type: `uint8`, `buffer`, `timer`, ... */
  readonly type: string;
  readonly value: unknown;
}

/** How to read: where the bytes lie in the stream, and whether more may follow. */
export interface ReaderOptions {
  /** Where to start in `bytes`. Default 0. */
  offset?: number;
  /** Stream offset of `bytes[0]`, for errors and traces. Default 0. */
  base?: number;
  /** Whether nothing can follow `bytes`. Default false: the end is where data is still missing. */
  final?: boolean;
}

/**
 * A cursor over bytes. Every read checks that the bytes are there and throws
 * {@linkcode OutOfDataError} otherwise. Integers are big-endian.
 */
export class StateReader {
  readonly bytes: Uint8Array;
  readonly end: number;
  readonly base: number;
  readonly final: boolean;
  /** Index in `bytes` of the next item. */
  offset: number;
  /** Receives a record of every field decoded, when set. */
  trace: FieldTrace[] | undefined = undefined;
  /** Path of the structure being read; kept only while tracing. */
  tracePath = "";
  readonly #view: DataView;

  constructor(bytes: Uint8Array, options: ReaderOptions = {}) {
    this.bytes = bytes;
    this.end = bytes.length;
    this.offset = options.offset ?? 0;
    this.base = options.base ?? 0;
    this.final = options.final ?? false;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Offset of the next item in the whole stream. */
  get streamOffset(): number {
    return this.base + this.offset;
  }

  /** Bytes left. */
  get remaining(): number {
    return this.end - this.offset;
  }

  /** A violation at the next item (or at `offset`, an index in `bytes`). */
  error(reason: string, offset = this.offset): VmStateError {
    return new VmStateError(reason, this.base + offset);
  }

  /** Moves over `size` bytes and returns the index of the first. */
  skip(size: number): number {
    const offset = this.offset;
    if (offset + size > this.end) {
      throw new OutOfDataError(offset + size - this.end, this.base + offset);
    }
    this.offset = offset + size;
    return offset;
  }

  u8(): number {
    return this.#view.getUint8(this.skip(1));
  }

  i8(): number {
    return this.#view.getInt8(this.skip(1));
  }

  u16(): number {
    return this.#view.getUint16(this.skip(2));
  }

  i16(): number {
    return this.#view.getInt16(this.skip(2));
  }

  u32(): number {
    return this.#view.getUint32(this.skip(4));
  }

  i32(): number {
    return this.#view.getInt32(this.skip(4));
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.skip(8));
  }

  i64(): bigint {
    return this.#view.getBigInt64(this.skip(8));
  }

  /** A u64 that is an offset or a length. Throws if it is 2^53 or more. */
  u64Number(): number {
    const offset = this.skip(8);
    const high = this.#view.getUint32(offset);
    if (high >= 0x20_0000) {
      throw this.error(
        `value 0x${this.#view.getBigUint64(offset).toString(16)} is too large`,
        offset,
      );
    }
    return high * 0x1_0000_0000 + this.#view.getUint32(offset + 4);
  }

  /** A u32 that counts what follows. Throws if it is more than `maximum`. */
  count(maximum: number): number {
    const count = this.u32();
    if (count > maximum) {
      throw this.error(`${count} items, at most ${maximum} are accepted`, this.offset - 4);
    }
    return count;
  }

  /** `count` u64s. */
  words(count: number): BigUint64Array<ArrayBuffer> {
    const start = this.skip(8 * count);
    const words = new BigUint64Array(count);
    const halves = halvesOf(words);
    for (let i = 0; i < halves.length; i += 2) {
      halves[i] = this.#view.getInt32(start + 4 * i + 4);
      halves[i + 1] = this.#view.getInt32(start + 4 * i);
    }
    return words;
  }

  /** A copy of the next `size` bytes. */
  copy(size: number): Uint8Array<ArrayBuffer> {
    const offset = this.skip(size);
    return new Uint8Array(this.bytes.subarray(offset, offset + size));
  }

  /** The next `size` bytes as text, one character for each byte. */
  latin1(size: number): string {
    const offset = this.skip(size);
    return latin1(this.bytes.subarray(offset, offset + size));
  }

  /** A name: u8 length, then that many bytes. */
  string8(): string {
    return this.latin1(this.u8());
  }

  /** The byte `ahead` bytes after the next one; `undefined` exactly at a final end. Consumes nothing. */
  peek(ahead = 0): number | undefined {
    const offset = this.offset + ahead;
    if (offset < this.end) return this.bytes[offset];
    if (this.final && ahead === 0) return undefined;
    throw new OutOfDataError(offset + 1 - this.end, this.streamOffset);
  }
}

/** Bytes as text, one character for each byte. For names: at most a few hundred bytes. */
export function latin1(bytes: Uint8Array): string {
  return String.fromCharCode.apply(null, bytes as unknown as number[]);
}
