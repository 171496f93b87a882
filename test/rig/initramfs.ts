/** Initial file systems: cpio archives in the format `newc`. */

const DIRECTORY = 0o040755;
const FILE = 0o100644;
const EXECUTABLE = 0o100755;
const TRAILER = "TRAILER!!!";

/** An archive under construction. Everything in it belongs to root. */
export class Initramfs {
  readonly #parts: Uint8Array[] = [];
  #count = 0;

  /** Adds folders; the outer before the inner ones. */
  directories(...names: readonly string[]): this {
    for (const name of names) this.#add(name, DIRECTORY, new Uint8Array());
    return this;
  }

  /** Adds a file. */
  file(name: string, content: Uint8Array | string, { executable = false } = {}): this {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    this.#add(name, executable ? EXECUTABLE : FILE, bytes);
    return this;
  }

  /** The finished archive. */
  bytes(): Uint8Array<ArrayBuffer> {
    this.#add(TRAILER, 0, new Uint8Array());
    const length = this.#parts.reduce((sum, part) => sum + part.length, 0);
    const archive = new Uint8Array(length);
    let at = 0;
    for (const part of this.#parts) {
      archive.set(part, at);
      at += part.length;
    }
    return archive;
  }

  #add(name: string, mode: number, content: Uint8Array): void {
    const nameBytes = new TextEncoder().encode(`${name}\0`);
    const [inode, links] = [++this.#count, 1];
    const [owner, group, time, device] = [0, 0, 0, 0];
    const fields = [
      ...[inode, mode, owner, group, links, time, content.length],
      ...[device, device, device, device, nameBytes.length, 0],
    ];
    const header = `070701${fields.map((f) => f.toString(16).padStart(8, "0")).join("")}`;
    this.#append(new TextEncoder().encode(header), nameBytes);
    this.#append(content);
  }

  /** Appends bytes, and zeros up to a multiple of four. */
  #append(...parts: readonly Uint8Array[]): void {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    this.#parts.push(...parts, new Uint8Array(-length & 3));
  }
}
