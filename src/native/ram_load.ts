/** Memory that the pages of a migration stream are put into by the C library (ffi/ram_load.c). */
import { layouts } from "./layouts.ts";
import { native } from "./library.ts";
import { holdAll } from "./handle.ts";
import { Mapping } from "./mapping.ts";
import type { PageBitmap } from "./pages.ts";
import { threads } from "./thread_pool.ts";

/** A block that pages go to. */
export interface RamTarget {
  readonly name: string;
  readonly memory: Mapping;
  /** Bytes in use. */
  readonly length: number;
  /** Pages that may hold something else than zeros; kept up to date. */
  readonly written: PageBitmap;
}

/** Bytes of a stream on their way from a channel to memory. */
export interface PageBuffer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The bytes [start, end) were read and not consumed. */
  start: number;
  end: number;
  /** Bytes consumed. */
  consumed: number;
  /** The block of the record before. */
  block: string | undefined;
  /** The stream has ended behind the bytes. */
  ended: boolean;
}

const { molt_ram_buffer: bufferLayout, molt_ram_target: targetLayout } = layouts;
const NAME_LIMIT = 255;

/** The blocks of a machine, as the C library needs them. */
export class RamTargets implements Disposable {
  readonly #targets: readonly RamTarget[];
  readonly #table: Mapping;
  readonly #current = new Uint32Array(1);

  constructor(targets: readonly RamTarget[]) {
    this.#targets = targets;
    const size = Math.ceil(Math.max(targetLayout.sizeof * targets.length, 1) / 4096) * 4096;
    this.#table = new Mapping({ kind: "anonymous" }, size, "the table of RAM blocks");
    const { bytes } = this.#table;
    const view = new DataView(bytes.buffer);
    targets.forEach(({ name, memory, length, written }, i) => {
      const at = targetLayout.sizeof * i;
      const encoded = new TextEncoder().encode(name);
      if (encoded.length > NAME_LIMIT || length > memory.size || length > written.pages * 4096) {
        throw new RangeError(`RAM block '${name}' of ${length} bytes`);
      }
      view.setBigUint64(at + targetLayout.memory, memory.address, true);
      view.setBigUint64(at + targetLayout.length, BigInt(length), true);
      view.setBigUint64(at + targetLayout.written, written.address, true);
      bytes[at + targetLayout.name] = encoded.length;
      bytes.set(encoded, at + targetLayout.name + 1);
    });
  }

  /** Address of the array of struct molt_ram_target. */
  get address(): bigint {
    return this.#table.address;
  }

  /** Keeps the table, and all that it names, from being freed while a call on another thread uses it. */
  hold(): Disposable {
    const blocks = this.#targets.flatMap(({ memory, written }) => [memory, written]);
    return holdAll(this.#table, ...blocks);
  }

  get count(): number {
    return this.#targets.length;
  }

  /**
   * Applies the valid records of pages at the beginning of `bytes`, up to the first that is something
   * else. `current` is the name of the block of the record before.
   */
  load(
    bytes: Uint8Array<ArrayBuffer>,
    current: string | undefined,
  ): { readonly consumed: number; readonly block: string | undefined } {
    const index = this.#targets.findIndex(({ name }) => name === current);
    this.#current[0] = index < 0 ? this.count : index;
    const consumed = Number(
      native.molt_ram_load(
        bytes,
        BigInt(bytes.length),
        this.address,
        this.count,
        new Uint8Array(this.#current.buffer),
      ),
    );
    return { consumed, block: this.#targets[this.#current[0]]?.name };
  }

  /**
   * Applies records of pages as they come on the channel whose struct molt_channel is at `channel`,
   * until something else comes or the stream ends. Resolves with 0, `buffer` being brought up to date,
   * or a negative errno.
   */
  async receive(channel: bigint, buffer: PageBuffer): Promise<number> {
    using _ = this.hold();
    const state = new DataView(new ArrayBuffer(bufferLayout.sizeof));
    const index = this.#targets.findIndex(({ name }) => name === buffer.block);
    state.setBigUint64(bufferLayout.start, BigInt(buffer.start), true);
    state.setBigUint64(bufferLayout.end, BigInt(buffer.end), true);
    state.setUint32(bufferLayout.current, index < 0 ? this.count : index, true);
    const { bytes } = buffer;
    const outcome = await threads.molt_ram_receive(
      channel,
      bytes,
      BigInt(bytes.length),
      new Uint8Array(state.buffer),
      this.address,
      this.count,
    );
    buffer.start = Number(state.getBigUint64(bufferLayout.start, true));
    buffer.end = Number(state.getBigUint64(bufferLayout.end, true));
    buffer.consumed += Number(state.getBigUint64(bufferLayout.consumed, true));
    buffer.block = this.#targets[state.getUint32(bufferLayout.current, true)]?.name;
    buffer.ended = state.getUint32(bufferLayout.ended, true) !== 0;
    return outcome;
  }

  [Symbol.dispose](): void {
    this.#table[Symbol.dispose]();
  }
}
