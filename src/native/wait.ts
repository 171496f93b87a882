/** Waiting on the program's own thread, for moments in which waking another one up takes too long. */
import { native } from "./library.ts";
import type { Fd } from "./descriptor.ts";
import { unwrap } from "./errors.ts";

const POLLIN = 1;

/** True if `fd` has something to read or has ended, at once or within `milliseconds`. */
export function hasInput(fd: Fd, milliseconds: number): boolean {
  return unwrap(native.molt_poll(fd, POLLIN, milliseconds), "Could not wait for input") > 0;
}

/** Lets everything else that is ready happen. */
export async function yieldToOthers(): Promise<void> {
  await native.poll_async(-1, 0, 0);
}
