/** What is wrong with a configuration. */

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
