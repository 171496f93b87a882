/**
 * A descriptor that is kept for when there is none left: closing it makes room for one that must be had,
 * such as that of a client who is to be refused.
 */
import type { Descriptor } from "./descriptor.ts";
import { SystemError } from "./errors.ts";
import { createEvent } from "./event_descriptor.ts";

/** One spare descriptor. */
export class SpareDescriptor implements Disposable {
  #descriptor: Descriptor | undefined = createEvent();

  /** Does `action`, which may open one descriptor and must have closed it when it returns. */
  spend<Result>(action: () => Result): Result {
    this[Symbol.dispose]();
    try {
      return action();
    } finally {
      this.#reopen();
    }
  }

  /** Somebody else may have been quicker: then there is none until the next time. */
  #reopen(): void {
    try {
      this.#descriptor = createEvent();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#descriptor?.[Symbol.dispose]();
    this.#descriptor = undefined;
  }
}
