/** Memory that the pages of a migration stream are put into by the C library (ffi/ram_load.c). */
import { layouts } from "./layouts.ts";
import { native } from "./library.ts";
import { holdAll } from "./handle.ts";
import { Mapping } from "./mapping.ts";
import type { PageBitmap } from "./pages.ts";
import { encodeBlocks, type StreamBlock } from "./ram_record.ts";
import { threads } from "./thread_pool.ts";

/** A block that pages go to. */
export interface RamTarget extends StreamBlock {
  readonly memory: Mapping;
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

const { molt_ram_buffer: layout } = layouts;

/** The blocks of a machine, as the C library needs them. */
export class RamTargets implements Disposable {
  readonly #targets: readonly RamTarget[];
  readonly #table: Mapping;

  constructor(targets: readonly RamTarget[]) {
    this.#targets = targets;
    for (const { name, memory, length, written } of targets) {
      if (length > memory.size || length > written.pages * 4096) {
        throw new RangeError(`RAM block '${name}' of ${length} bytes`);
      }
    }
    const table = encodeBlocks(targets);
    const size = Math.ceil(Math.max(table.length, 1) / 4096) * 4096;
    this.#table = new Mapping({ kind: "anonymous" }, size, "the table of RAM blocks");
    this.#table.bytes.set(table);
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
   * Applies records of pages, at first those that are in the buffer, then as they come on the channel whose
   * struct molt_channel is at `channel`, until something else comes, or a record that makes no sense, or the
   * stream ends. A thread reads the channel. Resolves with 0, `buffer` being brought up to date, or a
   * negative errno.
   */
  async receive(channel: bigint, buffer: PageBuffer): Promise<number> {
    using _ = this.hold();
    const { bytes } = buffer;
    const view = new DataView(new ArrayBuffer(layout.sizeof));
    const state = new Uint8Array(view.buffer);
    const index = this.#targets.findIndex(({ name }) => name === buffer.block);
    view.setBigUint64(layout.start, BigInt(buffer.start), true);
    view.setBigUint64(layout.end, BigInt(buffer.end), true);
    view.setUint32(layout.current, index < 0 ? this.count : index, true);
    const more = native.molt_ram_load(bytes, state, this.address, this.count) !== 0;
    const outcome = more
      ? await threads.molt_ram_receive(
        channel,
        bytes,
        BigInt(bytes.length),
        state,
        this.address,
        this.count,
      )
      : 0;
    buffer.start = Number(view.getBigUint64(layout.start, true));
    buffer.end = Number(view.getBigUint64(layout.end, true));
    buffer.consumed += Number(view.getBigUint64(layout.consumed, true));
    buffer.block = this.#targets[view.getUint32(layout.current, true)]?.name;
    buffer.ended = view.getUint32(layout.ended, true) !== 0;
    return outcome;
  }

  [Symbol.dispose](): void {
    this.#table[Symbol.dispose]();
  }
}
