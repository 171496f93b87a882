/**
 * Mapped files that somebody else can shorten (ffi/memory_guard.c). An access behind the new end finds
 * zeros instead of ending the process, and is reported here.
 */
import { reportFault } from "./faults.ts";
import type { Fd } from "./descriptor.ts";
import { unwrap } from "./errors.ts";
import { type EventLoop, Events } from "./event_loop.ts";
import { createEvent } from "./event_descriptor.ts";
import { read } from "./file.ts";
import { native } from "./library.ts";

/** The guard of one mapping. Dispose it before the memory is unmapped. */
export class MemoryGuard implements Disposable {
  readonly #guard: number;

  /** Guards `size` bytes at `address`, which come and go in pages of `pageSize` bytes. */
  constructor(address: bigint, size: number, pageSize: number) {
    this.#guard = unwrap(
      native.molt_guard_add(address, BigInt(size), BigInt(pageSize)),
      "Could not guard mapped memory",
    );
  }

  /** Some of the memory is lost: zeros have taken its place. */
  get lost(): boolean {
    return native.molt_guard_faults(this.#guard) > 0;
  }

  [Symbol.dispose](): void {
    native.molt_guard_remove(this.#guard);
  }
}

/** Calls `handler` on `loop` with the host address of guarded memory that was found lost. One at a time. */
export function watchLostMemory(loop: EventLoop, handler: (address: bigint) => void): Disposable {
  using undo = new DisposableStack();
  const event = undo.use(createEvent());
  const count = new Uint8Array(8);
  undo.use(loop.watch(event.fd, Events.readable, () => {
    read(event.fd, count);
    handler(native.molt_guard_latest());
  }, reportFault));
  ring(event.fd);
  undo.defer(() => ring(undefined));
  return undo.move();
}

function ring(fd: Fd | undefined): void {
  native.molt_guard_watch(fd ?? -1);
}
