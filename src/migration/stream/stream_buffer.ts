/**
 * The bytes of a stream that have come and are not consumed, in memory that is used again. The cursor
 * over them is a new one whenever bytes are added, and then lies where the one before did.
 */
import type { PageBuffer } from "../../native/ram_load.ts";
import { StateReader } from "../../vmstate/vmstate.ts";

const defaultReadSize = 64 * 1024;

/** Where a buffer's bytes come from. */
export interface StreamBufferOptions {
  /** Offset of the stream in its file (`file:PATH,offset=N`). mapped-ram counts from the file's start. */
  offset?: number;
  /** The whole stream, when it is in memory already. */
  bytes?: Uint8Array<ArrayBuffer>;
  /** Bytes of {@linkcode StreamBuffer.space} at least; 64 KiB by default. */
  readSize?: number;
}

/** Bytes between where they come in and where they are consumed. */
export class StreamBuffer {
  /** Bytes that have to be there before it makes sense to look at them again. */
  awaited = 0;
  readonly #readSize: number;
  /** Of which those from the cursor's offset to `#filled` are not consumed. */
  #memory: Uint8Array<ArrayBuffer>;
  #filled: number;
  #cursor: StateReader;
  #final: boolean;

  constructor({ offset, bytes, readSize }: StreamBufferOptions) {
    this.#readSize = readSize ?? defaultReadSize;
    this.#final = bytes !== undefined;
    this.#memory = bytes ?? new Uint8Array(this.#readSize);
    this.#filled = bytes?.length ?? 0;
    this.#cursor = this.#newCursor(0, offset ?? 0);
  }

  /** Reads what has come. Valid until bytes are added or skipped. */
  get cursor(): StateReader {
    return this.#cursor;
  }

  /** No more bytes come. */
  get final(): boolean {
    return this.#final;
  }

  /** It makes sense to look at what has come. */
  get ready(): boolean {
    return this.#final || this.#cursor.remaining >= this.awaited;
  }

  /** Stream offset of the next byte to be added. */
  get wantedOffset(): number {
    return this.#cursor.base + this.#filled;
  }

  /** Memory to put the next bytes into. */
  space(): Uint8Array<ArrayBuffer> {
    const used = this.#filled - this.#cursor.offset;
    if (this.#memory.length - this.#filled < this.#readSize) {
      const wanted = Math.max(used, this.awaited) + this.#readSize;
      const target = wanted > this.#memory.length
        ? new Uint8Array(Math.max(wanted, 2 * this.#memory.length))
        : this.#memory;
      target.set(this.#memory.subarray(this.#cursor.offset, this.#filled));
      this.#memory = target;
      this.#filled = used;
      this.#cursor = this.#newCursor(0, this.#cursor.streamOffset);
    }
    return this.#memory.subarray(this.#filled);
  }

  /** Says that `count` bytes were put into {@linkcode space}. */
  filled(count: number): void {
    this.#filled += count;
    this.#cursor = this.#newCursor(this.#cursor.offset, this.#cursor.base);
  }

  /** Adds a copy of bytes. */
  push(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length;) {
      const space = this.space();
      const part = bytes.subarray(from, from + space.length);
      space.set(part);
      this.filled(part.length);
      from += part.length;
    }
  }

  /** Says that no more bytes come. */
  end(): void {
    this.#final = true;
    this.#cursor = this.#newCursor(this.#cursor.offset, this.#cursor.base);
  }

  /** Goes on at a stream offset ahead. Returns how many bytes are missing to it if no more come. */
  skipTo(offset: number): number {
    const { base } = this.#cursor;
    const missing = offset - this.wantedOffset;
    if (missing <= 0) {
      this.#cursor.offset = offset - base;
      return 0;
    }
    if (this.#final) return missing;
    this.#filled = 0;
    this.#cursor = this.#newCursor(0, offset);
    return 0;
  }

  /** The bytes for somebody who takes pages from there and from behind; {@linkcode takeBack} ends it. */
  lend(block: string | undefined): PageBuffer {
    return {
      bytes: this.#memory,
      start: this.#cursor.offset,
      end: this.#filled,
      consumed: 0,
      block,
      ended: false,
    };
  }

  /** Goes on behind the pages that somebody took. */
  takeBack({ start, end, consumed }: PageBuffer): void {
    const base = this.#cursor.streamOffset + consumed - start;
    this.#filled = end;
    this.#cursor = this.#newCursor(start, base);
    this.awaited = 0;
  }

  #newCursor(offset: number, base: number): StateReader {
    const bytes = this.#memory.subarray(0, this.#filled);
    return new StateReader(bytes, { offset, base, final: this.#final });
  }
}
