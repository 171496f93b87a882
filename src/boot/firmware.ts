/**
 * Firmware given with `-bios`: a ROM image that ends at 4 GiB, so that its last 16 bytes are the
 * reset vector. Its last 128 KiB are seen below 1 MiB as well.
 */

import { BootError, type BootFile, type InitialCpu } from "./boot.ts";

const sizeUnit = 64 * 1024;
/** The board leaves this much below 4 GiB for it. */
const maximumSize = 16 * 1024 * 1024;
const lowAliasMaximum = 128 * 1024;
const fourGibibytes = 0x1_0000_0000;
const oneMebibyte = 0x100000;

/** Where the board maps a firmware image, in guest physical addresses. */
export interface FirmwareLayout {
  readonly address: number;
  /** The end of the image, `length` bytes long, read-only below 1 MiB. */
  readonly lowAlias: { readonly address: number; readonly length: number };
  readonly cpu: InitialCpu;
}

/** Throws if the image cannot be firmware. */
export function layOutFirmware(image: BootFile): FirmwareLayout {
  const size = image.bytes.length;
  if (size === 0 || size % sizeUnit !== 0 || size > maximumSize) {
    throw new BootError(
      `could not load PC BIOS '${image.name}': ${size} bytes are not a multiple of 64 KiB ` +
        `up to 16 MiB`,
    );
  }
  const aliasLength = Math.min(size, lowAliasMaximum);
  return {
    address: fourGibibytes - size,
    lowAlias: { address: oneMebibyte - aliasLength, length: aliasLength },
    cpu: { mode: "reset vector" },
  };
}
