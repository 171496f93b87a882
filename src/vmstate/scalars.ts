/** Fields that hold one integer, boolean or timer. */
import { VmStateError } from "./errors.ts";
import { Field, type FieldOptions, type Siblings } from "./field.ts";
import type { StateReader } from "./reader.ts";
import type { StateWriter } from "./writer.ts";

/** Integers of up to 32 bits. */
class NumberField extends Field<number> {
  readonly type: string;
  readonly fixedSize: number;
  readonly #signed: boolean;
  readonly #minimum: number;
  readonly #maximum: number;

  constructor(size: 1 | 2 | 4, signed: boolean, options?: FieldOptions<number>) {
    super(options);
    this.type = `${signed ? "int" : "uint"}${size * 8}`;
    this.fixedSize = size;
    this.#signed = signed;
    this.#minimum = signed ? -(2 ** (size * 8 - 1)) : 0;
    this.#maximum = 2 ** (signed ? size * 8 - 1 : size * 8) - 1;
  }

  read(reader: StateReader): number {
    switch (this.fixedSize) {
      case 1:
        return this.#signed ? reader.i8() : reader.u8();
      case 2:
        return this.#signed ? reader.i16() : reader.u16();
      default:
        return this.#signed ? reader.i32() : reader.u32();
    }
  }

  write(writer: StateWriter, value: number): void {
    if (!(value >= this.#minimum && value <= this.#maximum)) {
      throw new VmStateError(`${value} is not a value of type ${this.type}`);
    }
    switch (this.fixedSize) {
      case 1:
        return writer.u8(value);
      case 2:
        return writer.u16(value);
      default:
        return writer.u32(value);
    }
  }

  zero(): number {
    return 0;
  }
}

/** Integers of 64 bits. */
class BigIntField extends Field<bigint> {
  readonly type: string;
  readonly fixedSize = 8;
  readonly #signed: boolean;

  constructor(signed: boolean, options?: FieldOptions<bigint>) {
    super(options);
    this.type = signed ? "int64" : "uint64";
    this.#signed = signed;
  }

  read(reader: StateReader): bigint {
    return this.#signed ? reader.i64() : reader.u64();
  }

  write(writer: StateWriter, value: bigint): void {
    const fits = this.#signed
      ? value >= -0x8000_0000_0000_0000n && value <= 0x7fff_ffff_ffff_ffffn
      : value >= 0n && value <= 0xffff_ffff_ffff_ffffn;
    if (typeof value !== "bigint" || !fits) {
      throw new VmStateError(`${value} is not a value of type ${this.type}`);
    }
    writer.u64(value);
  }

  zero(): bigint {
    return 0n;
  }
}

/** One byte, 0 or 1. */
class BooleanField extends Field<boolean> {
  readonly type = "bool";
  readonly fixedSize = 1;

  read(reader: StateReader): boolean {
    const value = reader.u8();
    if (value > 1) throw reader.error(`${value} is not a boolean`, reader.offset - 1);
    return value === 1;
  }

  write(writer: StateWriter, value: boolean): void {
    writer.u8(value ? 1 : 0);
  }

  zero(): boolean {
    return false;
  }
}

/** A timer: i64 nanoseconds of expiry, -1 when it is not armed. */
class TimerField extends Field<bigint | undefined> {
  readonly type = "timer";
  readonly fixedSize = 8;

  read(reader: StateReader): bigint | undefined {
    const expiry = reader.i64();
    return expiry === -1n ? undefined : expiry;
  }

  write(writer: StateWriter, value: bigint | undefined): void {
    writer.u64(value ?? -1n);
  }

  zero(): undefined {
    return undefined;
  }
}

/** A field that older versions of the structure had with another width. */
class WidenedField<Value> extends Field<Value> {
  readonly type: string;
  readonly fixedSize: number | undefined;
  readonly #now: Field<Value>;
  readonly #before: Field<Value>;
  readonly #widenedIn: number;

  constructor(now: Field<Value>, before: Field<Value>, widenedIn: number) {
    super(now.name === undefined ? {} : { name: now.name });
    this.type = now.type;
    this.fixedSize = now.fixedSize;
    this.#now = now;
    this.#before = before;
    this.#widenedIn = widenedIn;
  }

  read(reader: StateReader, siblings: Siblings, version: number): Value {
    const field = version >= this.#widenedIn ? this.#now : this.#before;
    return field.read(reader, siblings, version);
  }

  write(writer: StateWriter, value: Value, siblings: Siblings): void {
    this.#now.write(writer, value, siblings);
  }

  zero(): Value {
    return this.#now.zero();
  }
}

/** An unsigned 8-bit integer. */
export function u8(options?: FieldOptions<number>): Field<number> {
  return new NumberField(1, false, options);
}

/** A signed 8-bit integer. */
export function i8(options?: FieldOptions<number>): Field<number> {
  return new NumberField(1, true, options);
}

/** An unsigned 16-bit integer. */
export function u16(options?: FieldOptions<number>): Field<number> {
  return new NumberField(2, false, options);
}

/** A signed 16-bit integer. */
export function i16(options?: FieldOptions<number>): Field<number> {
  return new NumberField(2, true, options);
}

/** An unsigned 32-bit integer. */
export function u32(options?: FieldOptions<number>): Field<number> {
  return new NumberField(4, false, options);
}

/** A signed 32-bit integer. */
export function i32(options?: FieldOptions<number>): Field<number> {
  return new NumberField(4, true, options);
}

/** An unsigned 64-bit integer. */
export function u64(options?: FieldOptions<bigint>): Field<bigint> {
  return new BigIntField(false, options);
}

/** A signed 64-bit integer. */
export function i64(options?: FieldOptions<bigint>): Field<bigint> {
  return new BigIntField(true, options);
}

/** One byte, 0 or 1; others are refused. */
export function bool(options?: FieldOptions<boolean>): Field<boolean> {
  return new BooleanField(options);
}

/** A timer's expiry in nanoseconds of its clock, `undefined` when it is not armed (-1 on the wire). */
export function timer(options?: FieldOptions<bigint | undefined>): Field<bigint | undefined> {
  return new TimerField(options);
}

/** `now` from version `widenedIn` of the structure on, `before` in older ones. */
export function widened<Value>(
  now: Field<Value>,
  before: Field<Value>,
  widenedIn: number,
): Field<Value> {
  return new WidenedField(now, before, widenedIn);
}
