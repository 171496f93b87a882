/** Fields that hold several values of one type. */
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

/** What arrays and lists share: elements in a row. */
abstract class ElementsField<Element> extends Field<Element[]> {
  readonly type: string;
  override readonly composite: boolean;
  protected readonly element: Field<Element>;

  constructor(element: Field<Element>, options?: FieldOptions<Element[]>) {
    super(options);
    this.element = element;
    this.type = element.type;
    this.composite = element.composite;
  }

  zero(): Element[] {
    return [];
  }

  /** Reads one element, which errors and traces call `[index]`. */
  protected readElement(
    reader: StateReader,
    siblings: Siblings,
    version: number,
    index: number,
  ): Element {
    if (!this.composite) return this.element.read(reader, siblings, version);
    const path = reader.tracePath;
    if (reader.trace !== undefined) reader.tracePath = `${path}[${index}]`;
    try {
      return this.element.read(reader, siblings, version);
    } catch (error) {
      throw error instanceof VmStateError ? error.within(`[${index}]`) : error;
    } finally {
      reader.tracePath = path;
    }
  }

  protected writeElements(writer: StateWriter, values: Element[], siblings: Siblings): void {
    let index = 0;
    try {
      for (; index < values.length; index++) {
        this.element.write(writer, values[index] as Element, siblings);
      }
    } catch (error) {
      throw error instanceof VmStateError ? error.within(`[${index}]`) : error;
    }
  }

  override size(values: Element[], siblings: Siblings): number {
    let size = 0;
    for (const value of values) size += this.element.size(value, siblings);
    return size;
  }
}

/** An array whose length both sides know. */
class ArrayField<Element> extends ElementsField<Element> {
  readonly fixedSize: number | undefined;
  readonly #count: Count;

  constructor(element: Field<Element>, count: Count, options?: FieldOptions<Element[]>) {
    super(element, options);
    this.#count = count;
    this.fixedSize = typeof count === "number" && element.fixedSize !== undefined
      ? count * element.fixedSize
      : undefined;
  }

  read(reader: StateReader, siblings: Siblings, version: number): Element[] {
    const count = readCount(this.#count, reader, siblings);
    const values: Element[] = [];
    for (let index = 0; index < count; index++) {
      values.push(this.readElement(reader, siblings, version, index));
    }
    return values;
  }

  write(writer: StateWriter, values: Element[], siblings: Siblings): void {
    const count = countOf(this.#count, siblings);
    if (values.length !== count) {
      throw new VmStateError(`${values.length} elements where ${count} are expected`);
    }
    this.writeElements(writer, values, siblings);
  }

  override zero(): Element[] {
    const count = typeof this.#count === "number" ? this.#count : 0;
    return Array.from({ length: count }, () => this.element.zero());
  }

  override describe(name: string, values: Element[], siblings: Siblings): string {
    const element = this.element;
    const first = values[0];
    if (first === undefined) return "";
    if (values.length === 1) return element.describeElement(name, "", first, siblings);
    if (element.uniform) {
      return element.describeElement(name, `"array_len": ${values.length}, `, first, siblings);
    }
    return values.map((value, index) =>
      element.describeElement(name, `"index": ${index}, `, value, siblings)
    ).join(", ");
  }
}

/**
 * An array of many slots of which few are used: on the wire it has `count` elements, in the state only
 * those up to the last that is not all zeros.
 */
class ZeroPaddedArrayField<Element> extends ElementsField<Element> {
  readonly fixedSize: number;
  readonly #count: number;
  readonly #elementSize: number;

  constructor(element: Field<Element>, count: number, options?: FieldOptions<Element[]>) {
    super(element, options);
    if (element.fixedSize === undefined) {
      throw new TypeError("elements of a zero-padded array must have a fixed size");
    }
    this.#count = count;
    this.#elementSize = element.fixedSize;
    this.fixedSize = count * element.fixedSize;
  }

  read(reader: StateReader, siblings: Siblings, version: number): Element[] {
    const start = reader.skip(this.fixedSize);
    const used = lengthWithoutZeros(reader.bytes.subarray(start, reader.offset));
    const count = Math.ceil(used / this.#elementSize);
    reader.offset = start;
    const values: Element[] = [];
    for (let index = 0; index < count; index++) {
      values.push(this.readElement(reader, siblings, version, index));
    }
    reader.offset = start + this.fixedSize;
    return values;
  }

  write(writer: StateWriter, values: Element[], siblings: Siblings): void {
    if (values.length > this.#count) {
      throw new VmStateError(`${values.length} elements where at most ${this.#count} fit`);
    }
    this.writeElements(writer, values, siblings);
    writer.zeros((this.#count - values.length) * this.#elementSize);
  }

  override size(): number {
    return this.fixedSize;
  }
}

/** A u32 count, then that many elements. */
class CountedArrayField<Element> extends ElementsField<Element> {
  readonly fixedSize = undefined;
  readonly #maximum: number;

  constructor(element: Field<Element>, maximum: number, options?: FieldOptions<Element[]>) {
    super(element, options);
    this.#maximum = maximum;
  }

  read(reader: StateReader, siblings: Siblings, version: number): Element[] {
    const count = reader.count(this.#maximum);
    const values: Element[] = [];
    for (let index = 0; index < count; index++) {
      values.push(this.readElement(reader, siblings, version, index));
    }
    return values;
  }

  write(writer: StateWriter, values: Element[], siblings: Siblings): void {
    if (values.length > this.#maximum) {
      throw new VmStateError(`${values.length} elements, at most ${this.#maximum} can be saved`);
    }
    writer.u32(values.length);
    this.writeElements(writer, values, siblings);
  }

  override size(values: Element[], siblings: Siblings): number {
    return 4 + super.size(values, siblings);
  }
}

/** Elements each preceded by a byte 1, ended by a byte 0. */
class ListField<Element> extends ElementsField<Element> {
  override readonly type = "qtailq";
  readonly fixedSize = undefined;
  readonly #maximum: number;

  constructor(element: Field<Element>, maximum: number, options?: FieldOptions<Element[]>) {
    super(element, options);
    this.#maximum = maximum;
  }

  read(reader: StateReader, siblings: Siblings, version: number): Element[] {
    const values: Element[] = [];
    for (;;) {
      const more = reader.u8();
      if (more === 0) return values;
      if (more !== 1) {
        throw reader.error(`${more} where a list continues or ends`, reader.offset - 1);
      }
      if (values.length === this.#maximum) {
        throw reader.error(`list has more than ${this.#maximum} elements`, reader.offset - 1);
      }
      values.push(this.readElement(reader, siblings, version, values.length));
    }
  }

  write(writer: StateWriter, values: Element[], siblings: Siblings): void {
    for (const value of values) {
      writer.u8(1);
      this.element.write(writer, value, siblings);
    }
    writer.u8(0);
  }

  override size(values: Element[], siblings: Siblings): number {
    return super.size(values, siblings) + values.length + 1;
  }
}

/** How many of the bytes remain when trailing zeros are left out. */
function lengthWithoutZeros(bytes: Uint8Array): number {
  // A copy is aligned, so that it can be looked at in words.
  const padded = new Uint8Array((bytes.length + 3) & ~3);
  padded.set(bytes);
  const words = new Int32Array(padded.buffer);
  let word = words.length;
  while (word > 0 && words[word - 1] === 0) word--;
  let used = word * 4;
  while (used > 0 && padded[used - 1] === 0) used--;
  return used;
}

/** `count` elements in a row. */
export function array<Element>(
  element: Field<Element>,
  count: Count,
  options?: FieldOptions<Element[]>,
): Field<Element[]> {
  return new ArrayField(element, count, options);
}

/** `count` elements in a row, of which the state leaves out the last ones that are all zeros. */
export function zeroPaddedArray<Element>(
  element: Field<Element>,
  count: number,
  options?: FieldOptions<Element[]>,
): Field<Element[]> {
  return new ZeroPaddedArrayField(element, count, options);
}

/** A u32 count of up to `maximum`, then that many elements. */
export function countedArray<Element>(
  element: Field<Element>,
  maximum: number,
  options?: FieldOptions<Element[]>,
): Field<Element[]> {
  return new CountedArrayField(element, maximum, options);
}

/** Any number of elements, up to `maximum`: a byte 1 precedes each and a byte 0 ends them. */
export function list<Element>(
  element: Field<Element>,
  maximum: number,
  options?: FieldOptions<Element[]>,
): Field<Element[]> {
  return new ListField(element, maximum, options);
}
