/** Text for a character device: what the other end does not take yet is kept, in order. */
import type { CharacterPort } from "../backends/character.ts";
import { encodeText } from "../backends/text.ts";
import { concatenate } from "./saved_session.ts";

/** Writes without ever losing or blocking. */
export class PortWriter {
  readonly #port: CharacterPort;
  readonly #onDrained: () => void;
  readonly #queue: Uint8Array<ArrayBuffer>[] = [];
  #pending = 0;
  #waiting = false;
  #waiters: (() => void)[] = [];

  /** `onDrained` is called whenever output that had to wait has been taken. */
  constructor(port: CharacterPort, onDrained: () => void) {
    this.#port = port;
    this.#onDrained = onDrained;
  }

  /** Bytes that the other end has not taken. */
  get pending(): number {
    return this.#pending;
  }

  /** What the other end has not taken, as bytes. */
  get unsent(): Uint8Array<ArrayBuffer> {
    return concatenate(this.#queue);
  }

  write(text: string): void {
    this.writeBytes(encodeText(text));
  }

  writeBytes(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.length === 0) return;
    this.#queue.push(bytes);
    this.#pending += bytes.length;
    if (!this.#waiting) this.#flush();
  }

  /** Forgets what has not been taken. */
  clear(): void {
    this.#queue.length = 0;
    this.#pending = 0;
    this.#waiting = false;
    this.#wakeWaiters();
  }

  /** Resolves when nothing is pending. */
  drained(): Promise<void> {
    if (this.#pending === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #flush(): void {
    this.#waiting = false;
    for (let bytes = this.#queue[0]; bytes !== undefined; bytes = this.#queue[0]) {
      const taken = this.#port.write(bytes, () => this.#resume());
      this.#pending -= taken;
      if (taken < bytes.length) {
        this.#queue[0] = bytes.subarray(taken);
        this.#waiting = true;
        return;
      }
      this.#queue.shift();
    }
    this.#wakeWaiters();
  }

  #wakeWaiters(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  #resume(): void {
    if (!this.#waiting) return;
    this.#flush();
    if (!this.#waiting) this.#onDrained();
  }
}
