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

/**
 * The image for a board that boots without firmware, `size` bytes long (a multiple of 64 KiB): its
 * reset vector resets the machine by a triple fault. Guests that reboot by jumping there, as Linux
 * does where it finds no better way, get their reboot instead of running on in zeros.
 */
export function resetOnlyFirmware(size: number): Uint8Array<ArrayBuffer> {
  const image = new Uint8Array(size);
  const segment = size - 64 * 1024;
  // 16-bit code. The far jump fixes CS, which is ffff or f000 before.
  image.set([0xea, 0x00, 0xff, 0x00, 0xf0], segment + 0xfff0); // ljmp $0xf000,$0xff00
  // Faults that KVM's instruction emulator knows too: it does no INT in protected mode, and in real
  // mode it does not look at the interrupt table's limit.
  // deno-fmt-ignore
  image.set([
    0xfa, // cli
    0x2e, 0x0f, 0x01, 0x16, 0x20, 0xff, // lgdt %cs:0xff20: no segments
    0x2e, 0x0f, 0x01, 0x1e, 0x20, 0xff, // lidt %cs:0xff20: no interrupts
    0xb8, 0x01, 0x00, // mov $1,%ax
    0x0f, 0x01, 0xf0, // lmsw %ax: protected mode
    0xb8, 0x08, 0x00, // mov $8,%ax
    0x8e, 0xd0, // mov %ax,%ss: there is no such segment
  ], segment + 0xff00);
  return image;
}
