/** What can be wrong with saved state, and where. */

/**
 * Saved state could not be decoded, or a state could not be encoded. `message` is
 * `section 'serial/0': field 'state.lsr' at offset 0x63b2: reason`, as far as those are known.
 */
export class VmStateError extends Error {
  override readonly name: string = "VmStateError";
  /** What is wrong, without the place. Where QEMU has a text for it, QEMU's text. */
  readonly reason: string;
  /** Byte offset in the stream; `undefined` when encoding. */
  offset: number | undefined;
  /** The field's names from the section's outermost structure inwards, e.g. `state.recv_fifo.num`. */
  path = "";
  /** The section, as `idstr/instance`. */
  section: string | undefined;

  constructor(reason: string, offset?: number, options?: ErrorOptions) {
    super(reason, options);
    this.reason = reason;
    this.offset = offset;
    this.#compose();
  }

  /** Adds the structure member or array element (`[3]`) that the error was found in. */
  within(member: string): this {
    const separator = this.path === "" || this.path.startsWith("[") ? "" : ".";
    this.path = member + separator + this.path;
    this.#compose();
    return this;
  }

  /** Adds where in the stream, unless that is known better already. */
  at(offset: number): this {
    this.offset ??= offset;
    this.#compose();
    return this;
  }

  /** Adds the section that the error was found in. */
  inSection(idstr: string, instanceId: number): this {
    this.section ??= `${idstr}/${instanceId}`;
    this.#compose();
    return this;
  }

  #compose(): void {
    let place = this.path === "" ? "" : `field '${this.path}'`;
    if (this.offset !== undefined) {
      place += `${place === "" ? "" : " "}at offset 0x${this.offset.toString(16)}`;
    }
    this.message = (this.section === undefined ? "" : `section '${this.section}': `) +
      (place === "" ? "" : `${place}: `) + this.reason +
      (this.cause instanceof VmStateError ? ` (${this.cause.reason})` : "");
  }
}

/**
 * The bytes end inside an item. Not a violation while more may come: a reader of a socket waits for
 * more and decodes the section again from its start.
 */
export class OutOfDataError extends VmStateError {
  override readonly name = "OutOfDataError";
  /** How many bytes beyond those there would have been enough for the item being read. */
  readonly missing: number;

  constructor(missing: number, offset: number) {
    super(`data ends ${missing} byte${missing === 1 ? "" : "s"} too early`, offset);
    this.missing = missing;
  }
}
