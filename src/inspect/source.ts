/** Where what is examined is read from. */

/** Reads from an open file, as far as it goes. */
export interface Source {
  readonly name: string;
  readonly size: number;
  /** Reads some bytes at `offset`: the count, 0 at the end. */
  read(buffer: Uint8Array<ArrayBuffer>, offset: number): number;
  /** Fills `buffer`. Throws if the file ends before. */
  readFully(buffer: Uint8Array<ArrayBuffer>, offset: number): void;
}
