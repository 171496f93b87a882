/** Addresses of network cards: as given, or QEMU's next free one from 52:54:00:12:34:56 on. */

const FIRST = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56] as const;

/** Gives cards their addresses, one after the other. */
export class MacAddresses {
  /** Last bytes in use of addresses that start as {@linkcode FIRST}. */
  readonly #used = new Set<number>();

  /** The address written as `given`, or a free one. */
  next(given: string | undefined): Uint8Array {
    const bytes = Uint8Array.from(
      given?.split(/[:-]/).map((digits) => parseInt(digits, 16)) ?? FIRST,
    );
    if (given === undefined) {
      while (this.#used.has(bytes[5] ?? 0) && (bytes[5] ?? 0) < 0xff) bytes[5]!++;
    }
    if (FIRST.slice(0, 5).every((byte, i) => byte === bytes[i])) this.#used.add(bytes[5] ?? 0);
    return bytes;
  }
}
