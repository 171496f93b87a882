/** What every field of a declared structure has in common. */
import type { StateReader } from "./reader.ts";
import type { StateWriter } from "./writer.ts";

/** The structure that a field belongs to, as far as it is decoded: lengths and conditions look at it. */
export type Siblings = Readonly<Record<string, unknown>>;

/** What any field can be given. */
export interface FieldOptions<Value> {
  /** Name in QEMU's description. By default the structure's prefix and the key in snake_case. */
  name?: string;
  /** First version of the structure that has the field. By default all have it. */
  since?: number;
  /** What the state holds when an older version was read. By default the type's zero. */
  absent?: Value;
}

/** One member of a structure: how its value is read, written and described. */
export abstract class Field<Value> {
  readonly name: string | undefined;
  readonly since: number;
  /** QEMU's name of the type in the description. */
  abstract readonly type: string;
  /** Encoded size in bytes if it is the same for all values, else `undefined`. */
  abstract readonly fixedSize: number | undefined;
  /** Whether a trace lists the members instead of the field itself. */
  readonly composite: boolean = false;
  /** Whether the description lets one element of an array stand for all. */
  readonly uniform: boolean = true;
  readonly #absent: Value | undefined;

  constructor(options: FieldOptions<Value> = {}) {
    this.name = options.name;
    this.since = options.since ?? 0;
    this.#absent = options.absent;
  }

  /** `version` is that of the structure being read. */
  abstract read(reader: StateReader, siblings: Siblings, version: number): Value;
  abstract write(writer: StateWriter, value: Value, siblings: Siblings): void;
  /** The value when nothing else is known. */
  abstract zero(): Value;

  /** The value when the version read does not have the field. */
  whenAbsent(): Value {
    return this.#absent ?? this.zero();
  }

  /** Encoded size in bytes of a value. */
  size(_value: Value, _siblings: Siblings): number {
    return this.fixedSize ?? 0;
  }

  /** Members of the description between `type` and `size`, each followed by a comma. */
  details(_value: Value, _siblings: Siblings): string {
    return "";
  }

  /** The field's objects in the JSON description, comma separated; empty if it has none. */
  describe(name: string, value: Value, siblings: Siblings): string {
    return this.describeElement(name, "", value, siblings);
  }

  /** One object of the description. `place` is `"array_len": N, ` or `"index": N, ` or empty. */
  describeElement(name: string, place: string, value: Value, siblings: Siblings): string {
    return `{"name": "${name}", ${place}"type": "${this.type}", ${
      this.details(value, siblings)
    }"size": ${this.size(value, siblings)}}`;
  }
}

/**
 * A length or count: a number, or the key of a sibling that says it. In the latter case `maximum` is the
 * largest value of the sibling that is accepted; `less` is subtracted from it, and with `unit` it counts
 * parts of an element, of which `unit` make one.
 */
export type Count = number | {
  readonly key: string;
  readonly maximum: number;
  readonly less?: number;
  readonly unit?: number;
};

/** The value of a {@linkcode Count}. */
export function countOf(count: Count, siblings: Siblings): number {
  if (typeof count === "number") return count;
  return Math.ceil((Number(siblings[count.key]) - (count.less ?? 0)) / (count.unit ?? 1));
}

/** The value of a {@linkcode Count} when reading. Checks the maximum before anything is allocated. */
export function readCount(count: Count, reader: StateReader, siblings: Siblings): number {
  const value = countOf(count, siblings);
  if (typeof count === "number") return value;
  const given = Number(siblings[count.key]);
  if (!(value >= 0 && given <= count.maximum)) {
    throw reader.error(`${count.key} is ${given}, at most ${count.maximum} is accepted`);
  }
  return value;
}
