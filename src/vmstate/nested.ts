/** Fields that hold a structure. */
import { Field, type FieldOptions } from "./field.ts";
import type { StateReader } from "./reader.ts";
import type { Structure } from "./structure.ts";
import type { StateWriter } from "./writer.ts";

/** A structure inside another one. It has no version of its own on the wire. */
class NestedField<State> extends Field<State> {
  readonly type: string = "struct";
  readonly fixedSize: number | undefined;
  override readonly composite = true;
  override readonly uniform: boolean;
  protected readonly structure: Structure<State>;

  constructor(structure: Structure<State>, options?: FieldOptions<State>) {
    super(options);
    this.structure = structure;
    this.fixedSize = structure.fixedSize;
    this.uniform = structure.uniform;
  }

  read(reader: StateReader): State {
    return this.structure.decode(reader, this.structure.version);
  }

  write(writer: StateWriter, value: State): void {
    this.structure.encode(writer, value);
  }

  override size(value: State): number {
    return this.structure.size(value);
  }

  override details(value: State): string {
    return `"struct": {${this.structure.describe(value)}}, `;
  }

  zero(): State {
    return this.structure.zero();
  }
}

/** A structure that QEMU computes from other values when it saves; only the description differs. */
class TemporaryField<State> extends NestedField<State> {
  override readonly type = "tmp";

  override details(value: State): string {
    return `${this.structure.describe(value)}, `;
  }
}

/** A structure that QEMU's description knows by its type and size only. */
class OpaqueField<State> extends NestedField<State> {
  override readonly type: string;
  override readonly uniform = true;

  constructor(type: string, structure: Structure<State>, options?: FieldOptions<State>) {
    super(structure, options);
    this.type = type;
  }

  override details(): string {
    return "";
  }
}

/** A structure that the description calls `type` and does not look into. */
export function opaque<State>(
  type: string,
  structure: Structure<State>,
  options?: FieldOptions<State>,
): Field<State> {
  return new OpaqueField(type, structure, options);
}

/** A structure as a field of another. */
export function nested<State>(
  structure: Structure<State>,
  options?: FieldOptions<State>,
): Field<State> {
  return new NestedField(structure, options);
}

/** A structure that the description calls `tmp` and lists without a level of its own. */
export function temporary<State>(
  structure: Structure<State>,
  options?: FieldOptions<State>,
): Field<State> {
  return new TemporaryField(structure, { name: "tmp", ...options });
}
