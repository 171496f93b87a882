/** Guest memory and kernel images made up for tests of the loaders. */
import type { BootFile, GuestMemory } from "../../../src/boot/boot.ts";
import { ramLayout } from "../../../src/boot/memory_map.ts";

/** RAM laid out as the board's, of which only the touched pages exist. */
export class SparseMemory implements GuestMemory {
  readonly #pages = new Map<number, Uint8Array>();
  /** How many bytes were written. */
  written = 0;

  constructor(readonly size: number) {}

  write(address: number, bytes: Uint8Array): void {
    this.#check(address, bytes.length);
    this.written += bytes.length;
    for (let done = 0; done < bytes.length;) {
      const { page, offset } = this.#page(address + done);
      const piece = bytes.subarray(done, done + 4096 - offset);
      page.set(piece, offset);
      done += piece.length;
    }
  }

  read(address: number, length: number): Uint8Array {
    this.#check(address, length);
    return Uint8Array.from({ length }, (_, i) => {
      const { page, offset } = this.#page(address + i);
      return page[offset] ?? 0;
    });
  }

  u32(address: number): number {
    return viewOf(this.read(address, 4)).getUint32(0, true);
  }

  u64(address: number): number {
    return Number(viewOf(this.read(address, 8)).getBigUint64(0, true));
  }

  /** The NUL-terminated text at an address. */
  text(address: number): string {
    let text = "";
    for (;; address++) {
      const byte = this.read(address, 1)[0];
      if (!byte) return text;
      text += String.fromCharCode(byte);
    }
  }

  #check(address: number, length: number): void {
    const inside = ramLayout(this.size).some((ram) =>
      address >= ram.start && address + length <= ram.start + ram.length
    );
    if (!inside) throw new RangeError(`not RAM: ${length} bytes at 0x${address.toString(16)}`);
  }

  #page(address: number): { page: Uint8Array; offset: number } {
    const offset = address % 4096;
    let page = this.#pages.get(address - offset);
    if (page === undefined) {
      page = new Uint8Array(4096);
      this.#pages.set(address - offset, page);
    }
    return { page, offset };
  }
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function file(name: string, bytes: Uint8Array): BootFile {
  return { name, bytes };
}

export interface ElfOptions {
  readonly is64?: boolean;
  readonly machine?: number;
  readonly segments?: readonly { address: number; bytes: Uint8Array; memorySize?: number }[];
  /** Content of the PT_NOTE segment; none if undefined. */
  readonly notes?: Uint8Array;
  readonly noteAlignment?: number;
}

/** One note, aligned to 4 bytes. */
export function note(name: string, type: number, description: Uint8Array, alignment = 4) {
  const align = (value: number) => Math.ceil(value / alignment) * alignment;
  const descriptionAt = align(12 + name.length + 1);
  const bytes = new Uint8Array(align(descriptionAt + description.length));
  const view = viewOf(bytes);
  view.setUint32(0, name.length + 1, true);
  view.setUint32(4, description.length, true);
  view.setUint32(8, type, true);
  bytes.set(new TextEncoder().encode(name), 12);
  bytes.set(description, descriptionAt);
  return bytes;
}

/** Xen's note that names the 32-bit entry point; `width` is that of the description. */
export function entryNote(entry: number, width: 4 | 8 = 4, alignment = 4): Uint8Array {
  const description = new Uint8Array(width);
  viewOf(description).setUint32(0, entry, true);
  return note("Xen", 18, description, alignment);
}

export function concatenate(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

export function elf(options: ElfOptions): Uint8Array {
  const is64 = options.is64 ?? true;
  const segments = options.segments ?? [{ address: 0x100000, bytes: new Uint8Array([1, 2, 3, 4]) }];
  const headers = segments.length + (options.notes ? 1 : 0);
  const [headerSize, entrySize] = is64 ? [64, 56] : [52, 32];
  const header = new Uint8Array(headerSize + headers * entrySize);
  const view = viewOf(header);
  const word = (offset: number, value: number) =>
    is64 ? view.setBigUint64(offset, BigInt(value), true) : view.setUint32(offset, value, true);
  header.set([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, options.machine ?? (is64 ? 62 : 3), true);
  word(is64 ? 32 : 28, headerSize);
  view.setUint16(is64 ? 54 : 42, entrySize, true);
  view.setUint16(is64 ? 56 : 44, headers, true);

  const parts: Uint8Array[] = [header];
  let offset = header.length;
  const program = (
    index: number,
    type: number,
    bytes: Uint8Array,
    address: number,
    memory: number,
    alignment: number,
  ) => {
    const at = headerSize + index * entrySize;
    view.setUint32(at, type, true);
    word(at + (is64 ? 8 : 4), offset);
    word(at + (is64 ? 24 : 12), address);
    word(at + (is64 ? 32 : 16), bytes.length);
    word(at + (is64 ? 40 : 20), memory);
    word(at + (is64 ? 48 : 28), alignment);
    parts.push(bytes);
    offset += bytes.length;
  };
  segments.forEach((s, i) =>
    program(i, 1, s.bytes, s.address, s.memorySize ?? s.bytes.length, 4096)
  );
  if (options.notes) {
    program(
      segments.length,
      4,
      options.notes,
      0,
      options.notes.length,
      options.noteAlignment ?? 4,
    );
  }
  return concatenate(...parts);
}

/** A bzImage with one setup sector whose kernel is `payload`; `change` edits it at last. */
export function bzImage(payload: Uint8Array, change?: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(1024 + payload.length);
  const view = viewOf(bytes);
  view.setUint8(0x1f1, 1);
  view.setUint32(0x1f4, Math.ceil(payload.length / 16), true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x20f, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, 0x7fffffff, true);
  view.setUint32(0x230, 0x200000, true);
  view.setUint8(0x234, 1);
  view.setUint16(0x236, 3, true);
  view.setUint32(0x238, 2047, true);
  view.setBigUint64(0x258, 0x1000000n, true);
  view.setUint32(0x260, 0x300000, true);
  bytes.set(payload, 1024);
  change?.(view);
  return bytes;
}
