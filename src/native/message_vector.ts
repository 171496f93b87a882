/** Vectors of MSI and MSI-X (ffi/message_vector.c). */
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import { NativeHandle } from "./handle.ts";
import type { Fd } from "./descriptor.ts";

/** A message-signalled interrupt: a write of `data` to the physical address `address`. */
export interface VectorMessage {
  readonly address: bigint;
  readonly data: number;
}

/** One vector, at first masked. Threads of the C library may raise it. */
export class NativeVector implements Disposable {
  readonly #handle: NativeHandle;

  /** Sends to the local APICs of KVM's virtual machine `vm`; without one, nowhere. */
  constructor(vm: Fd | undefined) {
    const handle = unwrap(
      native.molt_vector_create(vm ?? -1),
      "Could not create an interrupt vector",
    );
    this.#handle = new NativeHandle("an interrupt vector", handle, native.molt_vector_destroy);
  }

  get handle(): bigint {
    return this.#handle.value;
  }

  /** Unmasks it, with the message to send from now on; `undefined` masks it. What is pending is sent. */
  set(message: VectorMessage | undefined): void {
    if (message === undefined) native.molt_vector_mask(this.handle);
    else native.molt_vector_unmask(this.handle, message.address, message.data >>> 0);
  }

  /** Interrupts the guest, or makes the vector pending. */
  raise(): void {
    native.molt_vector_raise(this.handle);
  }

  /** An interrupt waits for the vector to be unmasked. */
  get pending(): boolean {
    return native.molt_vector_pending(this.handle) !== 0;
  }

  /** Of a masked vector; one that is not masked has nothing pending. */
  set pending(pending: boolean) {
    native.molt_vector_set_pending(this.handle, pending ? 1 : 0);
  }

  /** How many messages went out. */
  get sent(): bigint {
    return native.molt_vector_sent(this.handle);
  }

  /** Nothing may raise it any more. */
  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}
