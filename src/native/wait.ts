/** Waiting on the program's own thread, for moments in which waking another one up takes too long. */
import { native } from "./library.ts";
import type { Fd } from "./descriptor.ts";
import { unwrap } from "./errors.ts";

const POLLIN = 1;
const POLLOUT = 4;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;

/** True if `fd` has something to read or has ended, at once or within `milliseconds`. */
export function hasInput(fd: Fd, milliseconds: number): boolean {
  return unwrap(native.molt_poll(fd, POLLIN, milliseconds), "Could not wait for input") > 0;
}

/** True if `fd` takes output or has failed, at once or within `milliseconds`. */
export function takesOutput(fd: Fd, milliseconds: number): boolean {
  return unwrap(native.molt_poll(fd, POLLOUT, milliseconds), "Could not wait for a reader") > 0;
}

/** True if the other end of a connection is closed. */
export function hasHungUp(fd: Fd): boolean {
  const events = unwrap(native.molt_poll(fd, POLLRDHUP, 0), "Could not look at a connection");
  return (events & (POLLHUP | POLLRDHUP)) !== 0;
}

/** As {@linkcode hasInput}, without sleeping: a sleeper is late, and whoever wakes it has the work. */
export function watchForInput(fd: Fd, milliseconds: number): boolean {
  const nanoseconds = BigInt(milliseconds * 1e6);
  return unwrap(native.molt_poll_busily(fd, POLLIN, nanoseconds), "Could not wait for input") > 0;
}

/** Lets everything else that is ready happen. */
export async function yieldToOthers(): Promise<void> {
  await native.molt_yield();
}
