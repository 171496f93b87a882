/** A virtio-mmio transport without a device: a driver finds that there is none. */
import type { AccessSize, RegisterRegion } from "../device.ts";
import { MAGIC, Register, VENDOR, Version } from "./mmio_registers.ts";

/** The registers of such a transport. */
export class EmptyTransport implements RegisterRegion {
  readonly #version: number;

  constructor(legacy: boolean) {
    this.#version = legacy ? Version.legacy : Version.modern;
  }

  read(offset: number, _size: AccessSize): number {
    switch (offset) {
      case Register.magicValue:
        return MAGIC;
      case Register.version:
        return this.#version;
      case Register.vendorId:
        return VENDOR;
      default:
        return 0;
    }
  }

  write(): void {}
}
