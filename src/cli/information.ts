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
