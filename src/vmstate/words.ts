/**
 * Fields that hold nothing but integers of 64 bits, many of them: vector registers, banks of registers.
 * Their state is a BigUint64Array, which is how KVM's structures have them, and they are turned into the
 * wire's byte order half by half: a `bigint` for each would cost more than all else while a guest stands
 * still.
 */
import { VmStateError } from "./errors.ts";
import { Field, type Siblings } from "./field.ts";
import { halvesOf } from "./halves.ts";
import type { StateReader } from "./reader.ts";
import type { StateWriter } from "./writer.ts";

const WORD = 8;

class WordsField extends Field<BigUint64Array<ArrayBuffer>> {
  readonly type: string;
  readonly fixedSize: number;
  override readonly composite: boolean;
  override readonly uniform: boolean;
  readonly #layout: Field<unknown>;

  constructor(layout: Field<unknown>) {
    super({ since: layout.since, ...(layout.name === undefined ? {} : { name: layout.name }) });
    if (layout.fixedSize === undefined || layout.fixedSize % WORD !== 0) {
      throw new TypeError("words must have a fixed size, in words");
    }
    this.#layout = layout;
    this.type = layout.type;
    this.fixedSize = layout.fixedSize;
    this.composite = layout.composite;
    this.uniform = layout.uniform;
  }

  read(reader: StateReader, siblings: Siblings, version: number): BigUint64Array<ArrayBuffer> {
    const start = reader.offset;
    if (reader.trace !== undefined && this.composite) {
      this.#layout.read(reader, siblings, version);
      reader.offset = start;
    }
    return reader.words(this.fixedSize / WORD);
  }

  write(writer: StateWriter, value: BigUint64Array<ArrayBuffer>): void {
    if (value.byteLength !== this.fixedSize) {
      throw new VmStateError(`${value.length} words where ${this.fixedSize / WORD} are expected`);
    }
    writer.words(value);
  }

  zero(): BigUint64Array<ArrayBuffer> {
    return new BigUint64Array(this.fixedSize / WORD);
  }

  override describeElement(
    name: string,
    place: string,
    _value: BigUint64Array<ArrayBuffer>,
    siblings: Siblings,
  ): string {
    return this.#layout.describeElement(name, place, this.#layout.zero(), siblings);
  }

  override describe(
    name: string,
    _value: BigUint64Array<ArrayBuffer>,
    siblings: Siblings,
  ): string {
    return this.#layout.describe(name, this.#layout.zero(), siblings);
  }
}

/** What `layout` declares, which must consist of integers of 64 bits, as one array of these. */
export function words(layout: Field<unknown>): Field<BigUint64Array<ArrayBuffer>> {
  return new WordsField(layout);
}

/** Whether all words are zero. */
export function allZero(value: BigUint64Array<ArrayBuffer>): boolean {
  const halves = halvesOf(value);
  for (let i = 0; i < halves.length; i++) if (halves[i] !== 0) return false;
  return true;
}
