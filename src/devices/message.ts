/** Message-signalled interrupts: MSI and MSI-X vectors as devices have them. */

/** What a device writes where, to interrupt a processor. */
export interface InterruptMessage {
  /** Physical address, 64 bits; x86 uses those from 0xfee00000. */
  readonly address: bigint;
  readonly data: number;
}

/**
 * One vector. While it is masked, an interrupt makes it pending; unmasking sends what is pending. Threads
 * of the C library may raise it at any time, so that the owner of the table asks for `pending` rather than
 * keeping it.
 */
export interface MessageVector extends Disposable {
  /** Unmasks it, with the message to send from now on; `undefined` masks it. */
  set(message: InterruptMessage | undefined): void;
  /** Interrupts the guest, or makes the vector pending. */
  raise(): void;
  /** An interrupt waits for the vector to be unmasked. Setting it is for a load and for a reset. */
  pending: boolean;
}

/** Creates vectors. */
export interface MessageVectors {
  /** A new vector, masked, nothing pending. */
  create(): MessageVector;
}
