/** Errors as monitors report them. */

/** QMP's error classes (qapi/error.json). */
export type ErrorClass =
  | "GenericError"
  | "CommandNotFound"
  | "DeviceNotActive"
  | "DeviceNotFound"
  | "KVMMissingCap";

/** A command failed for a reason that has a class of its own. All other errors are GenericError. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly errorClass: ErrorClass;

  constructor(message: string, errorClass: ErrorClass = "GenericError") {
    super(message);
    this.errorClass = errorClass;
  }
}

/** Class and one-line description of whatever a command threw. */
export function describeError(error: unknown): { class: ErrorClass; desc: string } {
  const desc = error instanceof Error ? error.message : String(error);
  return { class: error instanceof CommandError ? error.errorClass : "GenericError", desc };
}
