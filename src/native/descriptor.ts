/** File descriptors with one owner. */
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";

declare const brand: unique symbol;

/** The number of an open file descriptor: borrowed, never closed by who holds only this. */
export type Fd = number & { readonly [brand]: "Fd" };

/** Takes `number` for a descriptor's number. For numbers that come from outside the process. */
export function asFd(number: number): Fd {
  return number as Fd;
}

/** An open file descriptor, closed when disposed. */
export class Descriptor implements Disposable {
  #fd: Fd | undefined;

  /** Takes ownership of `fd`. */
  constructor(fd: number) {
    this.#fd = asFd(fd);
  }

  /** The descriptor's number. Throws once it is closed or released. */
  get fd(): Fd {
    if (this.#fd === undefined) throw new Error("The descriptor is already closed");
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd === undefined;
  }

  /** Gives up ownership: the caller closes it now. */
  release(): Fd {
    const fd = this.fd;
    this.#fd = undefined;
    return fd;
  }

  /** A second descriptor for the same open file. */
  duplicate(): Descriptor {
    return duplicate(this.fd);
  }

  [Symbol.dispose](): void {
    if (this.#fd === undefined) return;
    native.molt_close(this.#fd);
    this.#fd = undefined;
  }
}

/** A second descriptor for the open file of `fd`, which stays its owner's. */
export function duplicate(fd: Fd): Descriptor {
  return new Descriptor(
    unwrap(native.molt_duplicate(fd), () => `Could not duplicate descriptor ${fd}`),
  );
}

/**
 * Throws a SystemError unless `count` more descriptors can be opened: before calls of the runtime that have
 * no error of their own for that. `attempt` says what they are for.
 */
export function requireDescriptors(count: number, attempt: string): void {
  using opened = new DisposableStack();
  for (let i = 0; i < count; i++) {
    opened.use(new Descriptor(unwrap(native.molt_eventfd(), attempt)));
  }
}

/** Closes all of them. */
export function closeAll(descriptors: readonly Descriptor[]): void {
  for (const descriptor of descriptors) descriptor[Symbol.dispose]();
}

/** Whether `fd` survives an execve. */
export function setCloseOnExec(fd: Fd, on: boolean): void {
  unwrap(
    native.molt_set_cloexec(fd, on ? 1 : 0),
    () => `Could not change close-on-exec of descriptor ${fd}`,
  );
}

/**
 * True if `fd` came from whoever started this process: what this program and its runtime open themselves
 * closes on exec.
 */
export function isInherited(fd: number): boolean {
  return native.molt_get_cloexec(fd) === 0;
}

/** True if `fd` is the number of an open descriptor. */
export function isOpen(fd: number): boolean {
  return native.molt_get_cloexec(fd) >= 0;
}
