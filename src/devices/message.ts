/** Message-signalled interrupts: MSI and MSI-X vectors as devices have them. */
import type { NativeVector } from "../native/message_vector.ts";

/**
 * One vector. While it is masked, an interrupt makes it pending; unmasking sends what is pending. Threads
 * of the C library may raise it at any time, so that the owner of the table asks for `pending` rather than
 * keeping it.
 */
export type MessageVector = NativeVector;

/** Creates vectors. */
export interface MessageVectors {
  /** A new vector, masked, nothing pending. Whoever asks for it disposes it. */
  create(): MessageVector;
}
