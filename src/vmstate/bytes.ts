/** Fields that hold raw bytes, text or nothing. */
import { VmStateError } from "./errors.ts";
import {
  type Count,
  countOf,
  Field,
  type FieldOptions,
  readCount,
  type Siblings,
} from "./field.ts";
import type { StateReader } from "./reader.ts";
import type { StateWriter } from "./writer.ts";

/** Raw bytes. */
class BytesField extends Field<Uint8Array> {
  readonly type: string = "buffer";
  readonly fixedSize: number | undefined;
  readonly #length: Count;

  constructor(length: Count, options?: FieldOptions<Uint8Array>) {
    super(options);
    this.#length = length;
    this.fixedSize = typeof length === "number" ? length : undefined;
  }

  read(reader: StateReader, siblings: Siblings): Uint8Array {
    return reader.copy(readCount(this.#length, reader, siblings));
  }

  write(writer: StateWriter, value: Uint8Array, siblings: Siblings): void {
    const length = countOf(this.#length, siblings);
    if (value.length !== length) {
      throw new VmStateError(`${value.length} bytes where ${length} are expected`);
    }
    writer.raw(value);
  }

  override size(value: Uint8Array): number {
    return value.length;
  }

  override describe(name: string, value: Uint8Array, siblings: Siblings): string {
    return value.length === 0 ? "" : super.describe(name, value, siblings);
  }

  zero(): Uint8Array {
    return new Uint8Array(this.fixedSize ?? 0);
  }
}

/** Raw bytes that the description calls an array of `uint8`. */
class ByteArrayField extends BytesField {
  override readonly type = "uint8";

  override describe(name: string, value: Uint8Array): string {
    const place = value.length > 1 ? `"array_len": ${value.length}, ` : "";
    return value.length === 0 ? "" : this.describeElement(name, place);
  }

  /** The description gives the size of one element. */
  override describeElement(name: string, place: string): string {
    return `{"name": "${name}", ${place}"type": "uint8", "size": 1}`;
  }
}

/** A u32 count of units, then the units' bytes. */
class CountedBytesField extends Field<Uint8Array> {
  readonly type = "buffer";
  readonly fixedSize = undefined;
  readonly #unit: number;
  readonly #maximum: number;

  constructor(unit: number, maximum: number, options?: FieldOptions<Uint8Array>) {
    super(options);
    this.#unit = unit;
    this.#maximum = maximum;
  }

  read(reader: StateReader): Uint8Array {
    return reader.copy(reader.count(this.#maximum) * this.#unit);
  }

  write(writer: StateWriter, value: Uint8Array): void {
    const count = value.length / this.#unit;
    if (!Number.isInteger(count) || count > this.#maximum) {
      throw new VmStateError(
        `${value.length} bytes are not up to ${this.#maximum} units of ${this.#unit}`,
      );
    }
    writer.u32(count);
    writer.raw(value);
  }

  override size(value: Uint8Array): number {
    return 4 + value.length;
  }

  zero(): Uint8Array {
    return new Uint8Array(0);
  }
}

/** Text of a fixed length, padded with NULs. */
class TextField extends Field<string> {
  readonly type = "buffer";
  readonly fixedSize: number;

  constructor(length: number, options?: FieldOptions<string>) {
    super(options);
    this.fixedSize = length;
  }

  read(reader: StateReader): string {
    const offset = reader.skip(this.fixedSize);
    const end = reader.bytes.indexOf(0, offset);
    const length = end < 0 ? this.fixedSize : Math.min(end - offset, this.fixedSize);
    reader.offset = offset;
    const text = reader.latin1(length);
    reader.offset = offset + this.fixedSize;
    return text;
  }

  write(writer: StateWriter, value: string): void {
    if (value.length > this.fixedSize) {
      throw new VmStateError(`'${value}' is longer than ${this.fixedSize} bytes`);
    }
    writer.latin1(value);
    writer.zeros(this.fixedSize - value.length);
  }

  zero(): string {
    return "";
  }
}

/** Bytes that mean nothing: written as zeros, not looked at when read, and not part of the state. */
class PaddingField extends Field<never> {
  readonly type = "unused_buffer";
  readonly fixedSize: number;

  constructor(length: number, options?: FieldOptions<never>) {
    super({ name: "unused", ...options });
    this.fixedSize = length;
  }

  read(reader: StateReader): never {
    reader.skip(this.fixedSize);
    return undefined as never;
  }

  write(writer: StateWriter): void {
    writer.zeros(this.fixedSize);
  }

  zero(): never {
    return undefined as never;
  }
}

/** `length` raw bytes. */
export function bytes(length: Count, options?: FieldOptions<Uint8Array>): Field<Uint8Array> {
  return new BytesField(length, options);
}

/** `length` raw bytes that QEMU declares as an array of `uint8`. */
export function byteArray(length: Count, options?: FieldOptions<Uint8Array>): Field<Uint8Array> {
  return new ByteArrayField(length, options);
}

/** A u32 count of up to `maximum` units of `unit` bytes, then those bytes. */
export function countedBytes(
  unit: number,
  maximum: number,
  options?: FieldOptions<Uint8Array>,
): Field<Uint8Array> {
  return new CountedBytesField(unit, maximum, options);
}

/** Text of `length` bytes on the wire, padded with NULs; the state holds it up to the first NUL. */
export function text(length: number, options?: FieldOptions<string>): Field<string> {
  return new TextField(length, options);
}

/** `length` bytes without meaning; not part of the state. Its name is `unused` if none is given. */
export function padding(length: number, options?: FieldOptions<never>): Field<never> {
  return new PaddingField(length, options);
}
