/** The `ringbuf` chardev: keeps the latest output in memory, for ringbuf-read. */
import { fromByteString, toByteString } from "./byte_string.ts";
import { Chardev, type ChardevEnvironment, type ChardevState } from "./chardev.ts";
import type { ChardevOptions } from "../configuration/chardev.ts";

export class RingbufChardev extends Chardev {
  readonly filename = "ringbuf";
  readonly #buffer: Uint8Array<ArrayBuffer>;
  /** Bytes ever written and ever read; their difference is what the buffer holds. */
  #written = 0;
  #read = 0;

  /** `size` in bytes is a power of two. */
  constructor(
    environment: Pick<ChardevEnvironment, "report">,
    options: ChardevOptions,
    size: number,
  ) {
    super(environment, options);
    this.#buffer = new Uint8Array(size);
    this.setOpen(true);
  }

  /** Takes up to `limit` of the oldest bytes out. */
  read(limit: number): Uint8Array<ArrayBuffer> {
    const count = Math.min(limit, this.#written - this.#read);
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      bytes[i] = this.#buffer[this.#read++ % this.#buffer.length] ?? 0;
    }
    return bytes;
  }

  override save(): ChardevState {
    const read = this.#read;
    const content = toByteString(this.read(this.#buffer.length));
    this.#read = read;
    return { content };
  }

  override restore(state: ChardevState | undefined): void {
    const content = state?.["content"];
    if (typeof content === "string") this.output(fromByteString(content));
  }

  protected override output(bytes: Uint8Array<ArrayBuffer>): number {
    for (const byte of bytes) this.#buffer[this.#written++ % this.#buffer.length] = byte;
    this.#read = Math.max(this.#read, this.#written - this.#buffer.length);
    return bytes.length;
  }
}
