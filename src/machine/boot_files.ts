/**
 * The files that a guest starts from. They stay open: a guest that resets itself starts again from what
 * it started from, also when its kernel has been removed or replaced since.
 */
import { openToRead } from "../native/descriptor_path.ts";
import type { Descriptor, Fd } from "../native/descriptor.ts";
import { type OpenPath, readAt, readOpenFile } from "../native/file.ts";

/** Files by path, opened when they are first needed. */
export class BootFiles implements Disposable {
  readonly #open = new Map<string, Descriptor>();
  readonly #openPath: OpenPath;

  constructor(openPath: OpenPath) {
    this.#openPath = openPath;
  }

  /** Opens a file that will be needed at a reset. One that is not there is an error only then. */
  prepare(path: string): void {
    try {
      this.#fd(path);
    } catch {
      // A guest that comes from elsewhere may never need it.
    }
  }

  /** The whole content. */
  read(path: string): Uint8Array<ArrayBuffer> {
    return readOpenFile(this.#fd(path), path);
  }

  /** Up to `length` bytes from the beginning. */
  readStart(path: string, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, readAt(this.#fd(path), bytes, 0));
  }

  #fd(path: string): Fd {
    const descriptor = this.#open.get(path) ?? openToRead(this.#openPath, path);
    this.#open.set(path, descriptor);
    return descriptor.fd;
  }

  [Symbol.dispose](): void {
    for (const descriptor of this.#open.values()) descriptor[Symbol.dispose]();
    this.#open.clear();
  }
}
