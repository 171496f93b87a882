/** Writing of big-endian items into a growing buffer. */
import { VmStateError } from "./errors.ts";
import { halvesOf } from "./halves.ts";

/** A growing buffer of encoded items. Integers are big-endian. */
export class StateWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  /** `capacity` in bytes is a first guess; the buffer grows. */
  constructor(capacity = 65536) {
    this.#bytes = new Uint8Array(Math.max(capacity, 16));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written. */
  get length(): number {
    return this.#length;
  }

  /** What was written: the writer's own memory, valid until the next write. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Forgets what was written and keeps the memory. */
  clear(): void {
    this.#length = 0;
  }

  /**
   * Makes room for `size` bytes, whose content the caller sets, and returns the index of the first. May
   * replace the buffer and its view.
   */
  reserve(size: number): number {
    const offset = this.#length;
    const end = offset + size;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, this.#bytes.length * 2));
      grown.set(this.bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#length = end;
    return offset;
  }

  u8(value: number): void {
    const offset = this.reserve(1);
    this.#view.setUint8(offset, value);
  }

  u16(value: number): void {
    const offset = this.reserve(2);
    this.#view.setUint16(offset, value);
  }

  u32(value: number): void {
    const offset = this.reserve(4);
    this.#view.setUint32(offset, value);
  }

  u64(value: bigint): void {
    const offset = this.reserve(8);
    this.#view.setBigUint64(offset, value);
  }

  /** u64s in a row. */
  words(words: BigUint64Array<ArrayBuffer>): void {
    const start = this.reserve(words.byteLength);
    const halves = halvesOf(words);
    for (let i = 0; i < halves.length; i += 2) {
      this.#view.setInt32(start + 4 * i, halves[i + 1] as number);
      this.#view.setInt32(start + 4 * i + 4, halves[i] as number);
    }
  }

  /** A u64 that is an offset or a length, less than 2^53. */
  u64Number(value: number): void {
    const offset = this.reserve(8);
    this.#view.setUint32(offset, Math.floor(value / 0x1_0000_0000));
    this.#view.setUint32(offset + 4, value % 0x1_0000_0000);
  }

  raw(bytes: Uint8Array): void {
    const offset = this.reserve(bytes.length);
    this.#bytes.set(bytes, offset);
  }

  zeros(size: number): void {
    const offset = this.reserve(size);
    this.#bytes.fill(0, offset, offset + size);
  }

  /** Text of characters below 256, one byte for each. */
  latin1(text: string): void {
    const offset = this.reserve(text.length);
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 255) {
        throw new VmStateError(`'${text}' cannot be written one byte for each character`);
      }
      this.#bytes[offset + i] = code;
    }
  }

  /** A name: u8 length, then that many bytes. */
  string8(text: string): void {
    if (text.length > 255) throw new VmStateError(`name '${text}' is longer than 255 bytes`);
    this.u8(text.length);
    this.latin1(text);
  }
}
