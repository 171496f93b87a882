/** What the rest of the program sees of a declared structure: how a state is saved, loaded and described. */
import type { StateReader } from "./reader.ts";
import type { StateWriter } from "./writer.ts";

/** A declared structure, such as a section's body. See {@linkcode struct} for how one is declared. */
export interface StateDescription<State = unknown> {
  /** QEMU's name of the structure (`vmsd_name` in the description). */
  readonly name: string;
  /** The version written. */
  readonly version: number;
  /** The oldest version that can be read. */
  readonly minimumVersion: number;
  /**
   * Reads a state of the given version, subsections included. Touches nothing but the reader.
   * Throws VmStateError, or OutOfDataError if the bytes end too early.
   */
  decode(reader: StateReader, version: number): State;
  /** Writes a state at the current version, subsections included. */
  encode(writer: StateWriter, state: State): void;
  /**
   * QEMU's JSON description of `state` as it would be encoded: the members `vmsd_name`, `version`,
   * `fields` and, where there are some, `subsections`, without the braces around them.
   */
  describe(state: State): string;
}

/** The state that a description describes. */
export type StateOf<Description> = Description extends StateDescription<infer State> ? State
  : never;
