/** Fields whose presence or layout depends on the fields before them. */
import { VmStateError } from "./errors.ts";
import { Field, type Siblings } from "./field.ts";
import type { StateReader } from "./reader.ts";
import type { StateWriter } from "./writer.ts";

/** A field that is there only under a condition on the fields before it. */
class ConditionalField<Value> extends Field<Value | undefined> {
  readonly type: string;
  readonly fixedSize = undefined;
  override readonly composite: boolean;
  override readonly uniform = false;
  readonly #field: Field<Value>;
  readonly #condition: (siblings: never) => boolean;

  constructor(field: Field<Value>, condition: (siblings: never) => boolean) {
    super({ since: field.since, ...(field.name === undefined ? {} : { name: field.name }) });
    this.type = field.type;
    this.composite = field.composite;
    this.#field = field;
    this.#condition = condition;
  }

  read(reader: StateReader, siblings: Siblings, version: number): Value | undefined {
    return this.#condition(siblings as never)
      ? this.#field.read(reader, siblings, version)
      : undefined;
  }

  write(writer: StateWriter, value: Value | undefined, siblings: Siblings): void {
    const expected = this.#condition(siblings as never);
    if (value === undefined) {
      if (expected) {
        throw new VmStateError("the state lacks a value that the other fields call for");
      }
      return;
    }
    if (!expected) throw new VmStateError("the other fields do not allow this one to be present");
    this.#field.write(writer, value, siblings);
  }

  override size(value: Value | undefined, siblings: Siblings): number {
    return value === undefined ? 0 : this.#field.size(value, siblings);
  }

  override describe(name: string, value: Value | undefined, siblings: Siblings): string {
    return value === undefined ? "" : this.#field.describe(name, value, siblings);
  }

  zero(): undefined {
    return undefined;
  }
}

/** A field of which the fields before it say how it looks. */
class VariantField<Value> extends Field<Value> {
  readonly type: string;
  readonly fixedSize = undefined;
  override readonly composite: boolean;
  override readonly uniform = false;
  readonly #choose: (siblings: never) => Field<Value>;

  constructor(usual: Field<Value>, choose: (siblings: never) => Field<Value>) {
    super(usual.name === undefined ? {} : { name: usual.name });
    this.type = usual.type;
    this.composite = usual.composite;
    this.#choose = choose;
  }

  read(reader: StateReader, siblings: Siblings, version: number): Value {
    return this.#choose(siblings as never).read(reader, siblings, version);
  }

  write(writer: StateWriter, value: Value, siblings: Siblings): void {
    this.#choose(siblings as never).write(writer, value, siblings);
  }

  override size(value: Value, siblings: Siblings): number {
    return this.#choose(siblings as never).size(value, siblings);
  }

  override describe(name: string, value: Value, siblings: Siblings): string {
    return this.#choose(siblings as never).describe(name, value, siblings);
  }

  zero(): Value {
    return this.#choose({} as never).zero();
  }
}

/** One of several fields with the same kind of value, chosen by the fields before it. */
export function variant<Value, Parent>(
  usual: Field<Value>,
  choose: (siblings: Parent) => Field<Value>,
): Field<Value> {
  return new VariantField(usual, choose as (siblings: never) => Field<Value>);
}

/** A field that is there only if `condition` holds for the fields before it; else its value is undefined. */
export function conditional<Value, Parent>(
  field: Field<Value>,
  condition: (siblings: Parent) => boolean,
): Field<Value | undefined> {
  return new ConditionalField(field, condition as (siblings: never) => boolean);
}
