/**
 * A function's configuration space: its bytes, and for each bit what a write of the guest does to it.
 *
 * Three masks say all of it. A bit is writable, or cleared by writing 1, or read-only; a read-only bit
 * that is not `volatile` is the same in two functions of the same kind, so that a saved state must
 * agree with it. Offsets and layouts are those of the PCI Local Bus Specification 3.0, chapter 6, and
 * the PCI Express Base Specification, chapter 7. Multi-byte registers are little-endian.
 */
import type { AccessSize } from "../device.ts";
import { VmStateError } from "../../vmstate/vmstate.ts";

/** Bytes of a conventional function's configuration space. */
export const CONVENTIONAL_SIZE = 256;
/** Bytes of a PCI Express function's. */
export const EXPRESS_SIZE = 4096;
/** Bytes that the standard header takes; what follows is the device's. */
export const HEADER_SIZE = 0x40;

/** Which bits of a register a write changes, and which of them a load compares. */
export interface RegisterMasks {
  /** Bits that take what is written. Absent: none. */
  readonly writable?: number;
  /** Bits that are cleared where 1 is written. Absent: none. */
  readonly writeOneToClear?: number;
  /** Read-only bits that a load does not compare, because the hardware changes them. Absent: none. */
  readonly volatile?: number;
}

/** The bytes and their masks. */
export class ConfigSpace {
  /** As the guest reads them. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #writable: Uint8Array;
  readonly #writeOneToClear: Uint8Array;
  readonly #compared: Uint8Array;

  /**
   * An empty space. The standard header is read-only until a header declares it (header.ts); all other
   * bytes are storage of the guest's until a capability takes them, as they are in QEMU.
   */
  constructor(size: typeof CONVENTIONAL_SIZE | typeof EXPRESS_SIZE) {
    this.bytes = new Uint8Array(size);
    this.#writable = new Uint8Array(size).fill(0xff, HEADER_SIZE);
    this.#writeOneToClear = new Uint8Array(size);
    this.#compared = new Uint8Array(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  /** A register's value, as the device sees it. */
  get(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (this.bytes[offset + i] ?? 0);
    return value;
  }

  /** Sets a register, whatever the guest may write. */
  set(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.bytes[offset + i] = value >>> (8 * i);
  }

  /** Says what a write does to a register of the device's and sets it; a load compares nothing of it. */
  storage(offset: number, size: AccessSize, value: number, masks: RegisterMasks = {}): void {
    this.set(offset, size, value);
    put(this.#writable, offset, size, masks.writable ?? 0);
    put(this.#writeOneToClear, offset, size, masks.writeOneToClear ?? 0);
    put(this.#compared, offset, size, 0);
  }

  /** The same for a register of which a load compares what the guest cannot change. */
  register(offset: number, size: AccessSize, value: number, masks: RegisterMasks = {}): void {
    this.storage(offset, size, value, masks);
    put(this.#compared, offset, size, ~(masks.volatile ?? 0));
  }

  /** Makes `length` bytes zero and read-only: the room of a capability. */
  reserve(offset: number, length: number): void {
    for (let at = offset; at < offset + length; at++) this.register(at, 1, 0);
  }

  /** What the guest reads. Bytes beyond the end are ones. */
  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (this.bytes[offset + i] ?? 0xff);
    return value;
  }

  /** A write of the guest's. Bytes beyond the end are lost. */
  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size && offset + i < this.size; i++) {
      const at = offset + i;
      const written = (value >>> (8 * i)) & 0xff;
      const writable = byte(this.#writable, at);
      const kept = byte(this.bytes, at) & ~writable & ~(written & byte(this.#writeOneToClear, at));
      this.bytes[at] = kept | (written & writable);
    }
  }

  /** Bits of the byte at `offset` that a saved state must agree with. */
  comparedBits(offset: number): number {
    return byte(this.#compared, offset) & ~byte(this.#writable, offset) &
      ~byte(this.#writeOneToClear, offset) & 0xff;
  }

  /** Bits of the byte at `offset` that the guest may set and clear. */
  writableBits(offset: number): number {
    return byte(this.#writable, offset);
  }

  /**
   * Refuses saved bytes whose read-only bits differ from this function's, in QEMU's words. Changes
   * nothing; {@linkcode load} does.
   */
  check(saved: Uint8Array): void {
    if (saved.length !== this.size) {
      throw new VmStateError(
        `${saved.length} bytes of config space where ${this.size} are expected`,
      );
    }
    for (let at = 0; at < this.size; at++) {
      if (((byte(saved, at) ^ byte(this.bytes, at)) & this.comparedBits(at)) === 0) continue;
      throw new VmStateError(
        `get_pci_config_device: Bad config data: i=0x${hex(at)} read: ${hex(byte(saved, at))} ` +
          `device: ${hex(byte(this.bytes, at))} cmask: ${hex(byte(this.#compared, at))} ` +
          `wmask: ${hex(byte(this.#writable, at))} w1cmask:${hex(byte(this.#writeOneToClear, at))}`,
      );
    }
  }

  /** Takes over saved bytes. Throws, without having changed anything, if they are another function's. */
  load(saved: Uint8Array): void {
    this.check(saved);
    this.bytes.set(saved);
  }
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

function put(bytes: Uint8Array, offset: number, size: AccessSize, value: number): void {
  for (let i = 0; i < size; i++) bytes[offset + i] = value >>> (8 * i);
}

function hex(value: number): string {
  return value.toString(16);
}
