/**
 * Subsections: parts of a structure that are on the wire only when there is something to say, so that a
 * reader that does not know them can still read what has none.
 */
import {
  type FieldRecord,
  type NoSubsections,
  type SingleDeclaration,
  struct,
  type StructDeclaration,
  type Structure,
  type StructureState,
  type SubsectionRecord,
} from "./structure.ts";

/** Whether a state always has a subsection's property, or only when the subsection is present. */
export type Presence = "optional" | "defaulted";

/** When a subsection is written. `Parent` is what `needed` looks at of the structure around it. */
export interface SubsectionRules<Value, Parent> {
  /** Whether it is written, given that the state has it. By default always. */
  needed?: (value: Value, parent: Parent) => boolean;
}

/** A subsection of a structure. */
export class Subsection<Value, P extends Presence, Parent> {
  readonly structure: Structure<Value>;
  readonly presence: P;
  /** The state's value when the subsection is not on the wire. */
  readonly absent: Value | undefined;
  /** What `needed` looks at; a type only. */
  declare readonly parent: (parent: Parent) => void;
  readonly #needed: ((value: never, parent: never) => boolean) | undefined;

  constructor(
    structure: Structure<Value>,
    presence: P,
    absent: Value | undefined,
    needed: ((value: never, parent: never) => boolean) | undefined,
  ) {
    this.structure = structure;
    this.presence = presence;
    this.absent = absent;
    this.#needed = needed;
  }

  /** Whether a state is written with this subsection. */
  isNeeded(value: unknown, parent: unknown): boolean {
    if (value === undefined) return false;
    if (this.#needed !== undefined) return this.#needed(value as never, parent as never);
    return value !== this.absent;
  }
}

/**
 * Declares a subsection. With several `fields` its state is an object, with a single `field` the
 * field's value. It is absent from the wire when the state's property is undefined, and from the state
 * when the wire does not have it; with `absent` given, that value stands for a subsection that is not on
 * the wire, in both directions. `needed` can restrict further when it is written.
 */
export function subsection<
  F extends FieldRecord,
  S extends SubsectionRecord = NoSubsections,
  Parent = unknown,
>(
  declaration: StructDeclaration<F, S> & SubsectionRules<StructureState<F, S>, Parent>,
): Subsection<StructureState<F, S>, "optional", Parent>;
export function subsection<Value, Parent = unknown>(
  declaration: SingleDeclaration<Value> & SubsectionRules<Value, Parent> & { absent: Value },
): Subsection<Value, "defaulted", Parent>;
export function subsection<Value, Parent = unknown>(
  declaration: SingleDeclaration<Value> & SubsectionRules<Value, Parent>,
): Subsection<Value, "optional", Parent>;
export function subsection(
  declaration:
    & (StructDeclaration<FieldRecord, SubsectionRecord> | SingleDeclaration<unknown>)
    & SubsectionRules<never, never>
    & { absent?: unknown },
): unknown {
  const structure = "field" in declaration ? struct(declaration) : struct(declaration);
  const presence = "absent" in declaration ? "defaulted" : "optional";
  return new Subsection<unknown, Presence, never>(
    structure as Structure<unknown>,
    presence,
    declaration.absent,
    declaration.needed,
  );
}
