/**
 * Character devices: a backend (socket, file, terminal, ...) on the host's side and one frontend (a
 * UART, a virtio port, a monitor) on the guest's or user's side. The words are QEMU's.
 */

import type { Descriptor } from "../native/descriptor.ts";

/**
 * What happens at a backend's other end: somebody came or left, a serial line's break; and at a
 * multiplexer, that the user's keys go to this frontend now, or to another one.
 */
export type CharacterEvent = "opened" | "closed" | "break" | "mux-in" | "mux-out";

/** The side that consumes a backend's input. */
export interface CharacterFrontend {
  /** How many bytes it takes now. After 0, it calls {@linkcode CharacterBackend.acceptInput}. */
  canReceive(): number;
  /** Input: at most as many bytes as canReceive said. The array may be kept. */
  receive(bytes: Uint8Array<ArrayBuffer>): void;
  /** The backend's other end came or went. */
  event(event: CharacterEvent): void;
}

/** The host's side of a character device. */
export interface CharacterBackend extends Disposable {
  /** The `id=` of -chardev, or a name such as `serial0`. */
  readonly id: string;
  /** Connects the one frontend. Throws if there is one already. If the backend is open, the frontend gets `opened`. */
  attach(frontend: CharacterFrontend): void;
  detach(): void;
  /**
   * Outputs bytes and returns how many were taken. Fewer than given means the other end is full;
   * `onWritable` is then called once when it takes more. Output nobody listens to is taken and lost.
   */
  write(bytes: Uint8Array<ArrayBuffer>, onWritable?: () => void): number;
  /** The frontend has room again: input is delivered as it comes. */
  acceptInput(): void;
}

/** What {@linkcode CharacterBackend}s of -chardev offer beyond the bytes. */
export interface CharacterPort extends CharacterBackend {
  /** Descriptors that came (SCM_RIGHTS) with the bytes received last, now the caller's. */
  takeDescriptors(): Descriptor[];
  /** Ends the connection to the other end, if there is one that can be ended: it can come again. */
  disconnect(): void;
}
