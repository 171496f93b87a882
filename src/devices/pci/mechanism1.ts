/**
 * Configuration mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2): the address goes to port 0xcf8,
 * the register is then at ports 0xcfc to 0xcff. The address: bit 31 enables, then bus (23:16), device
 * (15:11), function (10:8) and register (7:2).
 */
import type { AccessSize, RegisterRegion } from "../device.ts";

/** A function's configuration space as the guest accesses it. */
export interface ConfigAccess {
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
}

/** Finds the function at a bus number and a device and function number (device << 3 | function). */
export type FindFunction = (bus: number, deviceFunction: number) => ConfigAccess | undefined;

const ENABLED = 0x8000_0000;
const ONES = { 1: 0xff, 2: 0xffff, 4: 0xffffffff } as const;

/** The two registers. */
export class ConfigMechanism1 {
  /** The register at 0xcf8, as section `PCIHost` saves it. */
  address = 0;
  readonly #find: FindFunction;

  constructor(find: FindFunction) {
    this.#find = find;
  }

  /**
   * Ports 0xcf8 to 0xcfb. Only writes of all four bytes reach the register; every read begins with its low
   * byte, wherever it is, as QEMU's does.
   */
  readonly addressRegion: RegisterRegion = {
    read: (_offset, size) => (this.address & ONES[size]) >>> 0,
    write: (offset, size, value) => {
      if (offset === 0 && size === 4) this.address = value >>> 0;
    },
  };

  /** Ports 0xcfc to 0xcff. Where there is no function, ones are read and writes are lost. */
  readonly dataRegion: RegisterRegion = {
    read: (offset, size) => {
      const found = this.#selected(offset);
      return found === undefined ? ONES[size] : found.access.read(found.register, size);
    },
    write: (offset, size, value) => {
      const found = this.#selected(offset);
      found?.access.write(found.register, size, value);
    },
  };

  #selected(offset: number): { access: ConfigAccess; register: number } | undefined {
    if ((this.address & ENABLED) === 0) return undefined;
    const access = this.#find((this.address >>> 16) & 0xff, (this.address >>> 8) & 0xff);
    return access && { access, register: (this.address & 0xfc) | (offset & 3) };
  }
}
