/** How reading the command line ends when there is no machine to start. */

/**
 * A command line that cannot be followed. `message` is one line worded as QEMU words it, naming the
 * option and the value (`-m 1x: Parameter 'size' expects ...`); the program's name is not in it.
 */
export class OptionError extends Error {
  override readonly name = "OptionError";
  /** Further lines of advice, without a final line end. */
  readonly hint: string | undefined;

  constructor(message: string, hint?: string, options?: ErrorOptions) {
    super(message, options);
    this.hint = hint;
  }
}

/**
 * Thrown in place of a configuration when the user asked for information (`-help`, `-version`,
 * `-machine help`): `text` belongs on standard output.
 */
export class InformationRequest extends Error {
  override readonly name = "InformationRequest";
  readonly text: string;
  /** As with QEMU, 1 where an option's list was asked for its own help. */
  readonly exitStatus: number;

  constructor(text: string, exitStatus = 0) {
    super("information was asked for");
    this.text = text;
    this.exitStatus = exitStatus;
  }
}
