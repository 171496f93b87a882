/** The configuration space of a virtio device on PCI. Layout as QEMU's, so that streams agree with it. */
import { addBar, type BarDeclaration } from "../pci/bars.ts";
import {
  addMsix,
  addPowerManagement,
  addVirtioConfigAccess,
  addVirtioRegisters,
} from "../pci/capabilities.ts";
import { ConfigSpace, CONVENTIONAL_SIZE, EXPRESS_SIZE } from "../pci/config_space.ts";
import { addExpressEndpoint } from "../pci/express.ts";
import { deviceHeader } from "../pci/header.ts";

/** Vendor ID of all virtio devices. */
const VENDOR = 0x1af4;
/** Device IDs: of modern devices with the virtio ID added. */
const MODERN_DEVICE = 0x1040;
const MODERN_SUBSYSTEM = 0x1100;
/** Where PBA goes with up to 128 vectors; the table is at 0. */
const PENDING_BITS = 0x800;

/** What a kind of virtio device says about itself on PCI. */
export interface VirtioPciKind {
  /** Virtio's device ID. */
  readonly id: number;
  /** PCI device ID of its transitional form. */
  readonly transitionalId: number;
  readonly classCode: number;
  /** Bytes of the I/O BAR of its transitional form. */
  readonly legacySize: number;
}

/** The devices that molt has, by their driver. */
export const virtioPciKinds = {
  "virtio-net-pci": { id: 1, transitionalId: 0x1000, classCode: 0x020000, legacySize: 32 },
  "virtio-blk-pci": { id: 2, transitionalId: 0x1001, classCode: 0x010000, legacySize: 128 },
  "virtio-serial-pci": { id: 3, transitionalId: 0x1003, classCode: 0x078000, legacySize: 64 },
  "virtio-rng-pci": { id: 4, transitionalId: 0x1005, classCode: 0x00ff00, legacySize: 32 },
  "virtio-balloon-pci": { id: 5, transitionalId: 0x1002, classCode: 0x00ff00, legacySize: 64 },
  "virtio-scsi-pci": { id: 8, transitionalId: 0x1004, classCode: 0x010000, legacySize: 64 },
} as const satisfies Record<string, VirtioPciKind>;

/** Registers in the modern BAR: virtio's type number, start and length. */
const modernRegisters = [
  { type: 1, start: 0x0000, length: 0x1000 },
  { type: 3, start: 0x1000, length: 0x1000 },
  { type: 4, start: 0x2000, length: 0x1000 },
  { type: 2, start: 0x3000, length: 0x1000, multiplier: 4 },
] as const;

/** The BAR with modern registers. */
export const modernBar: BarDeclaration = {
  index: 4,
  kind: "memory64",
  prefetchable: true,
  size: 0x4000,
};

/** How a device sits on its bus. */
export interface VirtioPciOptions {
  /** Behind a port it is express and modern; on the root bus conventional and transitional. */
  readonly form: "express" | "transitional";
  /** MSI-X vectors, 0 for none, at most 2048. */
  readonly vectors: number;
  readonly multifunction?: boolean;
}

/** The BAR with the MSI-X table of so many vectors, and where the pending bits are in it. */
export function msixBar(vectors: number): { bar: BarDeclaration; pending: number } {
  const pending = Math.max(PENDING_BITS, 16 * vectors);
  let size = 0x1000;
  while (size < pending + Math.ceil(vectors / 64) * 8) size *= 2;
  return { bar: { index: 1, kind: "memory", size }, pending };
}

/** The space of a device after a reset. */
export function virtioPciSpace(kind: VirtioPciKind, options: VirtioPciOptions): ConfigSpace {
  const express = options.form === "express";
  const space = new ConfigSpace(express ? EXPRESS_SIZE : CONVENTIONAL_SIZE);
  deviceHeader(space, {
    vendor: VENDOR,
    device: express ? MODERN_DEVICE + kind.id : kind.transitionalId,
    revision: express ? 1 : 0,
    classCode: kind.classCode,
    subsystem: { vendor: VENDOR, device: express ? MODERN_SUBSYSTEM : kind.id },
    multifunction: options.multifunction ?? false,
    interruptPin: 1,
  });
  let next = 0x40;
  if (express) {
    addExpressEndpoint(space, 0x40);
    addPowerManagement(space, 0x7c);
    next = 0x84;
  } else {
    addBar(space, { index: 0, kind: "io", size: kind.legacySize });
  }
  for (const registers of modernRegisters) {
    next += addVirtioRegisters(space, next, { bar: modernBar.index, ...registers });
  }
  next += addVirtioConfigAccess(space, next);
  addBar(space, modernBar);
  if (options.vectors > 0) {
    const { bar, pending } = msixBar(options.vectors);
    addBar(space, bar);
    addMsix(space, next, { vectors: options.vectors, bar: bar.index, table: 0, pending });
  }
  return space;
}
