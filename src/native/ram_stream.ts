/** Pages as records of the `ram` section, written by the C library (ffi/ram_stream.c). */
import { type Holdable, holdAll } from "./handle.ts";
import { Mapping } from "./mapping.ts";
import type { PageBitmap } from "./pages.ts";
import { threads } from "./thread_pool.ts";

/** Pages [first, end) of a block that are set in `bitmap`. */
export interface PageSelection {
  readonly memory: Mapping;
  readonly bitmap: PageBitmap;
  readonly first: number;
  readonly end: number;
  /** Set: pages that may have content; the others are zero. `undefined`: all may. */
  readonly written: PageBitmap | undefined;
  /** Whether to look for zero pages. */
  readonly detectZero: boolean;
}

/** All memory that a call uses which sends `pages`. */
export function memoryOf({ memory, bitmap, written }: PageSelection): Holdable[] {
  return written === undefined ? [memory, bitmap] : [memory, bitmap, written];
}

/** Counts that a call of the C library leaves. */
export interface PageCounts {
  readonly normal: number;
  readonly zero: number;
}

/** Reads such counts. */
export function readPageCounts(bytes: Uint8Array, offset: number): PageCounts {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    normal: Number(view.getBigUint64(offset, true)),
    zero: Number(view.getBigUint64(offset + 8, true)),
  };
}

const NAME_LIMIT = 255;
const COUNTS = NAME_LIMIT + 1;

/** Memory for the arguments and results of one call at a time. */
export class RamRecordSender implements Disposable {
  readonly #memory = new Mapping({ kind: "anonymous" }, 4096, "arguments");

  /**
   * Sends the pages on the channel whose struct molt_channel is at `channel`. `name` is the block's name
   * if the record before was of another block. Resolves with the bytes sent or a negative errno.
   */
  async send(
    channel: bigint,
    pages: PageSelection,
    name: string | undefined,
  ): Promise<bigint> {
    const { address, bytes } = this.#memory;
    if (name !== undefined) {
      const encoded = new TextEncoder().encode(name);
      if (encoded.length > NAME_LIMIT) throw new RangeError(`block name '${name}' is too long`);
      bytes[0] = encoded.length;
      bytes.set(encoded, 1);
    }
    using _ = holdAll(this.#memory, ...memoryOf(pages));
    return await threads.molt_ram_send(
      channel,
      pages.memory.address,
      pages.bitmap.address,
      pages.written?.address ?? 0n,
      BigInt(pages.first),
      BigInt(pages.end),
      pages.detectZero ? 1 : 0,
      name === undefined ? 0n : address,
      address + BigInt(COUNTS),
    );
  }

  /** What the last call counted. */
  get counts(): PageCounts {
    return readPageCounts(this.#memory.bytes, COUNTS);
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}
