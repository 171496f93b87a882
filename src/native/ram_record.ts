/** The parser of page records of the `ram` section (ffi/ram_record.c), and the differences in them. */
import { layouts } from "./layouts.ts";
import { native } from "./library.ts";
import type { Mapping } from "./mapping.ts";
import type { PageBitmap } from "./pages.ts";

/** A block of RAM, as the stream's list has it. Each character of its name is a byte there. */
export interface StreamBlock {
  readonly name: string;
  /** Bytes in use. */
  readonly length: number;
  /** Where its pages go, if the stream is loaded: see RamTarget. */
  readonly memory?: Mapping;
  readonly written?: PageBitmap;
}

const { molt_ram_target: target, molt_ram_record: layout } = layouts;
const NAME_LIMIT = 255;

/** An array of struct molt_ram_target. */
export function encodeBlocks(blocks: readonly StreamBlock[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(target.sizeof * blocks.length);
  const view = new DataView(bytes.buffer);
  blocks.forEach(({ name, length, memory, written }, i) => {
    const at = target.sizeof * i;
    const encoded = Array.from(name, (character) => character.charCodeAt(0));
    if (encoded.length > NAME_LIMIT || encoded.some((code) => code > 0xff)) {
      throw new RangeError(`RAM block '${name}'`);
    }
    view.setBigUint64(at + target.memory, memory?.address ?? 0n, true);
    view.setBigUint64(at + target.length, BigInt(length), true);
    view.setBigUint64(at + target.written, written?.address ?? 0n, true);
    bytes[at + target.name] = encoded.length;
    bytes.set(encoded, at + target.name + 1);
  });
  return bytes;
}

/** What is at the beginning of some bytes: enum molt_ram_outcome, in its order. */
const outcomes = [
  "complete",
  "incomplete",
  "no page",
  "no block",
  "unknown block",
  "bad offset",
  "bad fill",
  "bad encoding",
  "bad length",
  "bad difference",
] as const;

/** The flag of each kind of record. */
const kinds = { 0x002: "zero page", 0x008: "page", 0x040: "xbzrle page" } as const;

/** A record of a page, or why there is none. Unless it is complete, what its outcome needs is right. */
export interface PageRecord {
  readonly outcome: typeof outcomes[number];
  readonly kind: typeof kinds[keyof typeof kinds];
  /** Index of the block in the list. */
  readonly block: number;
  /** The page's offset in the block. */
  readonly offset: number;
  /** The same, exactly: a record that is refused may say anything. */
  readonly address: bigint;
  /**
   * Index of the content's `size` bytes; of the bytes that are missing, if it is incomplete; of what is
   * wrong otherwise.
   */
  readonly data: number;
  readonly size: number;
  /** Index behind the record. */
  readonly end: number;
}

/** Reads records of pages. */
export class PageRecordReader {
  readonly #blocks: readonly StreamBlock[];
  readonly #table: Uint8Array<ArrayBuffer>;
  readonly #record = new DataView(new ArrayBuffer(layout.sizeof));

  /** `blocks` is the stream's list. */
  constructor(blocks: readonly StreamBlock[]) {
    this.#blocks = blocks;
    this.#table = encodeBlocks(blocks);
  }

  /**
   * Reads the record at index `start` of `bytes`, of which those up to `end` are there. `current` is the
   * index of the block of the record before; -1 if there is none.
   */
  read(bytes: Uint8Array, start: number, end: number, current: number): PageRecord {
    if (end > bytes.length) throw new RangeError(`${end} of ${bytes.length} bytes`);
    const count = this.#blocks.length;
    const outcome = native.molt_ram_record(
      unshared(bytes),
      BigInt(start),
      BigInt(end),
      this.#table,
      count,
      current < 0 ? count : current,
      new Uint8Array(this.#record.buffer),
    );
    const view = this.#record;
    const kind = view.getUint32(layout.kind, true) as keyof typeof kinds;
    const address = view.getBigUint64(layout.offset, true);
    return {
      outcome: outcomes[outcome] ?? "no page",
      kind: kinds[kind],
      block: view.getUint32(layout.block, true),
      offset: Number(address),
      address,
      data: Number(view.getBigUint64(layout.data, true)),
      size: view.getUint32(layout.size, true),
      end: Number(view.getBigUint64(layout.end, true)),
    };
  }
}

/**
 * Applies an XBZRLE difference to a page (ffi/xbzrle.h). Returns the index from which on it makes no sense,
 * having changed nothing, or `undefined`.
 */
export function applyDifference(page: Uint8Array, encoded: Uint8Array): number | undefined {
  if (page.length !== 4096) throw new RangeError(`a page of ${page.length} bytes`);
  const bad = native.molt_xbzrle_apply(unshared(page), unshared(encoded), encoded.length);
  return bad < 0 ? undefined : bad;
}

/** The same bytes, which the type says may lie in memory that workers share: there is none here. */
function unshared(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (!(bytes.buffer instanceof ArrayBuffer)) throw new TypeError("bytes in shared memory");
  return bytes as Uint8Array<ArrayBuffer>;
}
