/**
 * Structures: the fields of a section, a subsection or a nested structure, declared once. From one
 * declaration come the decoder, the encoder, the type of the state and QEMU's description.
 *
 * On the wire a structure is its fields in order, then its subsections: a byte 5, the name (u8 length
 * and text), a u32 version and the subsection's own structure. Nothing says how many there are; a
 * reader looks whether the next bytes are a subsection whose name begins with the structure's.
 */
import type { StateDescription } from "./description.ts";
import { VmStateError } from "./errors.ts";
import type { Field, Siblings } from "./field.ts";
import { latin1, type StateReader } from "./reader.ts";
import type { Presence, Subsection } from "./subsection.ts";
import type { StateWriter } from "./writer.ts";

const subsectionMarker = 5;

/** Fields by their keys in the state. */
export type FieldRecord = Readonly<Record<string, Field<unknown>>>;
/** Subsections by their keys in the state. */
export type SubsectionRecord = Readonly<Record<string, Subsection<unknown, Presence, never>>>;
type Simplify<T> = { [Key in keyof T]: T[Key] };
/** What a structure without any has. */
export type NoSubsections = Record<never, never>;

/** The state's properties that come from fields. Padding has none. */
export type FieldsState<F extends FieldRecord> = {
  -readonly [
    Key in keyof F as F[Key] extends Field<infer Value> ? [Value] extends [never] ? never : Key
      : never
  ]: F[Key] extends Field<infer Value> ? Value : never;
};

/** The state's properties that come from subsections. */
export type SubsectionsState<S> =
  & {
    -readonly [
      Key in keyof S as S[Key] extends Subsection<unknown, "optional", never> ? Key : never
    ]?: S[Key] extends Subsection<infer Value, Presence, never> ? Value | undefined : never;
  }
  & {
    -readonly [
      Key in keyof S as S[Key] extends Subsection<unknown, "defaulted", never> ? Key : never
    ]: S[Key] extends Subsection<infer Value, Presence, never> ? Value : never;
  };

/** The state of a structure with fields `F` and subsections `S`. */
export type StructureState<F extends FieldRecord, S> = Simplify<
  FieldsState<F> & SubsectionsState<S>
>;

/** Name and versions, as the wire and QEMU's description give them. */
interface Identity {
  name: string;
  /** The version written and the newest that can be read. */
  version: number;
  /** The oldest version that can be read. By default `version`. */
  minimumVersion?: number;
}

/** A structure with several fields: its state is an object with their keys. */
export interface StructDeclaration<F extends FieldRecord, S extends SubsectionRecord>
  extends Identity {
  /** Put before the default names of the fields, e.g. `env.`. */
  prefix?: string;
  /** In the order of the wire. */
  fields: F;
  /** In the order of the wire. */
  subsections?: S & { [Key in keyof S]: Subsection<unknown, Presence, FieldsState<F>> };
  /** Gives the state to be written instead of the one that was handed in. */
  preSave?: (state: StructureState<NoInfer<F>, NoInfer<S>>) => StructureState<
    NoInfer<F>,
    NoInfer<S>
  >;
  /** Checks or completes a decoded state of the given version. Throws VmStateError if it is wrong. */
  postLoad?: (state: StructureState<NoInfer<F>, NoInfer<S>>, version: number) => void;
}

/** A structure with a single field: its state is the field's value itself. */
export interface SingleDeclaration<Value> extends Identity {
  /** Key of the field, from which its name is made. Not needed when the field has a name. */
  key?: string;
  prefix?: string;
  field: Field<Value>;
}

/** What both declarations amount to. */
interface Layout extends Identity {
  prefix?: string;
  fields: FieldRecord;
  subsections?: SubsectionRecord;
  preSave?: (state: never) => unknown;
  postLoad?: (state: never, version: number) => void;
}

/** A declared structure. */
export class Structure<State> implements StateDescription<State> {
  readonly name: string;
  readonly version: number;
  readonly minimumVersion: number;
  /** Encoded size in bytes if it is the same for all states. */
  readonly fixedSize: number | undefined;
  /** Whether the description lets one element of an array of these stand for all. */
  readonly uniform: boolean;
  readonly #layout: Layout;
  readonly #single: boolean;
  readonly #keys: readonly string[];
  readonly #fields: readonly Field<unknown>[];
  readonly #subsections: readonly (readonly [string, Subsection<unknown, Presence, never>])[];
  readonly #fieldsSize: number | undefined;
  #fieldNames: string[] | undefined;
  #fieldsText: string | undefined;

  constructor(layout: Layout, single: boolean) {
    this.name = layout.name;
    this.version = layout.version;
    this.minimumVersion = layout.minimumVersion ?? layout.version;
    this.#layout = layout;
    this.#single = single;
    this.#keys = Object.keys(layout.fields);
    this.#fields = Object.values(layout.fields);
    this.#subsections = Object.entries(layout.subsections ?? {});
    let size: number | undefined = 0;
    let uniform = this.#subsections.length === 0;
    for (const field of this.#fields) {
      size = size === undefined || field.fixedSize === undefined
        ? undefined
        : size + field.fixedSize;
      uniform &&= field.uniform;
    }
    this.#fieldsSize = size;
    this.fixedSize = this.#subsections.length === 0 ? size : undefined;
    this.uniform = uniform;
  }

  /** Its subsections in the order of the wire. */
  get subsections(): readonly Subsection<unknown, Presence, never>[] {
    return this.#subsections.map(([, subsection]) => subsection);
  }

  decode(reader: StateReader, version: number): State {
    if (version > this.version) {
      throw reader.error(
        `${this.name}: incoming version_id ${version} is too new for local version_id ${this.version}`,
      );
    }
    if (version < this.minimumVersion) {
      throw reader.error(
        `${this.name}: incoming version_id ${version} is too old for local minimum version_id ${this.minimumVersion}`,
      );
    }
    const start = reader.streamOffset;
    const state: Record<string, unknown> = {};
    const fields = this.#fields;
    let index = 0;
    try {
      for (; index < fields.length; index++) {
        const field = fields[index] as Field<unknown>;
        const key = this.#keys[index] as string;
        const value = field.since > version
          ? field.whenAbsent()
          : reader.trace === undefined
          ? field.read(reader, state, version)
          : this.#readTraced(reader, field, index, state, version);
        // Padding reads as undefined, and an optional field that is not there is undefined as well.
        if (value !== undefined || field.type !== "unused_buffer") state[key] = value;
      }
    } catch (error) {
      throw error instanceof VmStateError ? error.within(this.#fieldName(index)) : error;
    }
    this.#readSubsections(reader, state);
    const result = (this.#single ? state[this.#keys[0] as string] : state) as State;
    if (this.#layout.postLoad !== undefined) {
      try {
        this.#layout.postLoad(result as never, version);
      } catch (error) {
        throw error instanceof VmStateError ? error.at(start) : error;
      }
    }
    return result;
  }

  encode(writer: StateWriter, given: State): void {
    const state = this.#record(given);
    const fields = this.#fields;
    let index = 0;
    try {
      for (; index < fields.length; index++) {
        const key = this.#keys[index] as string;
        (fields[index] as Field<unknown>).write(writer, state[key], state);
      }
    } catch (error) {
      throw error instanceof VmStateError ? error.within(this.#fieldName(index)) : error;
    }
    for (const [key, subsection] of this.#subsections) {
      const value = state[key];
      if (!subsection.isNeeded(value, state)) continue;
      writer.u8(subsectionMarker);
      writer.string8(subsection.structure.name);
      writer.u32(subsection.structure.version);
      try {
        subsection.structure.encode(writer, value);
      } catch (error) {
        throw error instanceof VmStateError ? error.within(subsection.structure.name) : error;
      }
    }
  }

  /** Encoded size of a state in bytes. */
  size(given: State): number {
    if (this.fixedSize !== undefined) return this.fixedSize;
    const state = this.#record(given);
    let size = this.#fieldsSize ?? 0;
    if (this.#fieldsSize === undefined) {
      this.#fields.forEach((field, index) => {
        size += field.size(state[this.#keys[index] as string], state);
      });
    }
    for (const [key, subsection] of this.#subsections) {
      const value = state[key];
      if (!subsection.isNeeded(value, state)) continue;
      const { structure } = subsection;
      size += 1 + 1 + structure.name.length + 4 + structure.size(value);
    }
    return size;
  }

  describe(given: State): string {
    const state = this.#record(given);
    let text = `"vmsd_name": "${this.name}", "version": ${this.version}, "fields": [${
      this.#describeFields(state)
    }]`;
    let separator = ', "subsections": [';
    for (const [key, subsection] of this.#subsections) {
      const value = state[key];
      if (!subsection.isNeeded(value, state)) continue;
      text += `${separator}{${subsection.structure.describe(value)}}`;
      separator = ", ";
    }
    return separator === ", " ? text + "]" : text;
  }

  /** A state in which every field is zero and every subsection absent. */
  zero(): State {
    const state: Record<string, unknown> = {};
    this.#fields.forEach((field, index) => {
      if (field.type !== "unused_buffer") state[this.#keys[index] as string] = field.zero();
    });
    for (const [key, subsection] of this.#subsections) {
      if (subsection.presence === "defaulted") state[key] = subsection.absent;
    }
    return (this.#single ? state[this.#keys[0] as string] : state) as State;
  }

  #describeFields(state: Siblings): string {
    if (this.#fieldsText !== undefined) return this.#fieldsText;
    const texts: string[] = [];
    this.#fields.forEach((field, index) => {
      const text = field.describe(
        this.#fieldName(index),
        state[this.#keys[index] as string],
        state,
      );
      if (text !== "") texts.push(text);
    });
    const text = texts.join(", ");
    // With fields of fixed size every state has the same text.
    if (this.#fieldsSize !== undefined) this.#fieldsText = text;
    return text;
  }

  #record(given: State): Siblings {
    const state = this.#layout.preSave === undefined
      ? given
      : this.#layout.preSave(given as never) as State;
    return this.#single ? { [this.#keys[0] as string]: state } : state as Siblings;
  }

  #fieldName(index: number): string {
    this.#fieldNames ??= this.#fields.map((field, index) =>
      field.name ?? (this.#layout.prefix ?? "") + snakeCase(this.#keys[index] as string)
    );
    return this.#fieldNames[index] ?? "";
  }

  #readTraced(
    reader: StateReader,
    field: Field<unknown>,
    index: number,
    state: Siblings,
    version: number,
  ): unknown {
    const outer = reader.tracePath;
    const path = outer === "" ? this.#fieldName(index) : `${outer}.${this.#fieldName(index)}`;
    const offset = reader.streamOffset;
    reader.tracePath = path;
    try {
      const value = field.read(reader, state, version);
      if (!field.composite) {
        const size = reader.streamOffset - offset;
        reader.trace?.push({ path, offset, size, type: field.type, value });
      }
      return value;
    } finally {
      reader.tracePath = outer;
    }
  }

  #readSubsections(reader: StateReader, state: Record<string, unknown>): void {
    for (const [key, subsection] of this.#subsections) {
      if (subsection.presence === "defaulted") state[key] = subsection.absent;
    }
    for (;;) {
      const start = reader.offset;
      const name = subsectionName(reader, this.name);
      if (name === undefined) return;
      const entry = this.#subsections.find((entry) => entry[1].structure.name === name);
      if (entry === undefined) {
        throw reader.error(`VM subsection '${name}' in '${this.name}' does not exist`, start);
      }
      const outer = reader.tracePath;
      if (reader.trace !== undefined) reader.tracePath = outer === "" ? name : `${outer}.${name}`;
      try {
        reader.skip(2 + name.length);
        state[entry[0]] = entry[1].structure.decode(reader, reader.u32());
      } catch (error) {
        throw error instanceof VmStateError ? error.within(name) : error;
      } finally {
        reader.tracePath = outer;
      }
    }
  }
}

/** The name of the subsection of `parent` that comes next, if one does. Consumes nothing. */
function subsectionName(reader: StateReader, parent: string): string | undefined {
  if (reader.peek() !== subsectionMarker) return undefined;
  const length = reader.peek(1);
  if (length === undefined || length < parent.length + 1) return undefined;
  if (reader.peek(1 + length) === undefined) return undefined;
  const start = reader.offset + 2;
  const name = latin1(reader.bytes.subarray(start, start + length));
  return name.startsWith(parent) ? name : undefined;
}

/** `spuriousVec` as `spurious_vec`. */
function snakeCase(key: string): string {
  let name = "";
  let start = 0;
  for (let index = 0; index < key.length; index++) {
    const code = key.charCodeAt(index);
    if (code < 0x41 || code > 0x5a) continue;
    name += `${key.slice(start, index)}_${String.fromCharCode(code + 0x20)}`;
    start = index + 1;
  }
  return name + key.slice(start);
}

/** Declares a structure. */
export function struct<F extends FieldRecord, S extends SubsectionRecord = NoSubsections>(
  declaration: StructDeclaration<F, S>,
): Structure<StructureState<F, S>>;
export function struct<Value>(declaration: SingleDeclaration<Value>): Structure<Value>;
export function struct(
  declaration: StructDeclaration<FieldRecord, SubsectionRecord> | SingleDeclaration<unknown>,
): Structure<unknown> {
  if (!("field" in declaration)) return new Structure(declaration as Layout, false);
  const { key = "value", field } = declaration;
  return new Structure({ ...declaration, fields: { [key]: field } }, true);
}
