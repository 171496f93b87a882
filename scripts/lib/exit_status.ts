/** What scripts end with, and the errors that say so. */

/** What a script ends with. */
export const ExitStatus = {
  done: 0,
  failed: 1,
  usage: 2,
  unavailable: 3,
  lost: 4,
  interrupted: 130,
} as const;

export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus];

/** A failure with an exit status of its own. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";

  constructor(readonly status: ExitStatus, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}
