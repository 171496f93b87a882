/** Errors of a stream as a whole, with the errno that QEMU reports them by. */
import { VmStateError } from "../../vmstate/vmstate.ts";

/** A stream breaks the protocol. `reason` is QEMU's text where it has one. */
export class StreamError extends VmStateError {
  override readonly name = "StreamError";
  /** The errno whose text QEMU puts before the reason: `Invalid argument: Unknown section type 9`. */
  readonly errno: number;

  constructor(reason: string, offset: number, options: ErrorOptions & { errno?: number } = {}) {
    super(reason, offset, options);
    this.errno = options.errno ?? StreamErrno.EINVAL;
  }
}

/** The errno values used. */
export const StreamErrno = { EPERM: 1, EIO: 5, EINVAL: 22, ERANGE: 34, ENOTSUP: 95 } as const;
