/**
 * Capabilities in a configuration space. The one added last is the first of its list, as in QEMU; extended
 * ones are linked in the order they are added. Layouts: PCI Local Bus Specification 3.0, 6.7 and 6.8; PCI
 * Bus Power Management 1.2; PCI Express Base Specification, chapter 7; virtio 1.3, 4.1.4.
 */
import type { ConfigSpace } from "./config_space.ts";
import { Header, Status } from "./header.ts";

/** IDs of capabilities. */
export const CapabilityId = {
  powerManagement: 0x01,
  msi: 0x05,
  vendor: 0x09,
  subsystem: 0x0d,
  express: 0x10,
  msix: 0x11,
  sata: 0x12,
} as const;

/** IDs of extended capabilities. */
export const ExtendedCapabilityId = { errorReporting: 0x0001, accessControl: 0x000d } as const;

/** Where the extended capabilities begin. */
const EXTENDED_START = 0x100;

/** Adds a capability of `length` bytes, which are read-only and zero but for its ID and the list's next. */
export function addCapability(
  space: ConfigSpace,
  id: number,
  offset: number,
  length: number,
): number {
  const next = space.get(Header.capabilities, 1);
  space.reserve(offset, length);
  space.set(offset, 1, id);
  space.set(offset + 1, 1, next);
  space.set(Header.capabilities, 1, offset);
  space.set(Header.status, 2, space.get(Header.status, 2) | Status.capabilities);
  return offset;
}

/** The same for one of the extended space. The first is at 0x100. */
export function addExtendedCapability(
  space: ConfigSpace,
  { id, version, offset, length }: { id: number; version: number; offset: number; length: number },
): number {
  space.reserve(offset, length);
  space.set(offset, 4, id | version << 16);
  if (offset === EXTENDED_START) return offset;
  let last = EXTENDED_START;
  for (let next; (next = space.get(last, 4) >>> 20) !== 0;) last = next;
  space.set(last, 4, (space.get(last, 4) & 0xfffff) | offset << 20);
  return offset;
}

/** Power management, version 3: D0 and D3hot. */
export function addPowerManagement(space: ConfigSpace, offset: number): void {
  addCapability(space, CapabilityId.powerManagement, offset, 8);
  space.set(offset + 2, 2, 0x0003);
  space.register(offset + 4, 2, 0, { writable: 0x0003 });
}

/** MSI with one message and an address of 64 bits, without a mask per vector. */
export function addMsi(space: ConfigSpace, offset: number): void {
  addCapability(space, CapabilityId.msi, offset, 14);
  space.register(offset + 2, 2, 0x0080, { writable: 0x0071 });
  space.register(offset + 4, 4, 0, { writable: 0xfffffffc });
  space.register(offset + 8, 4, 0, { writable: 0xffffffff });
  space.register(offset + 12, 2, 0, { writable: 0xffff });
}

/** Subsystem IDs of a bridge. */
export function addSubsystem(
  space: ConfigSpace,
  offset: number,
  { vendor, device }: { vendor: number; device: number },
): void {
  addCapability(space, CapabilityId.subsystem, offset, 8);
  space.set(offset + 4, 2, vendor);
  space.set(offset + 6, 2, device);
}

/** Bits of MSI-X's message control. */
export const MsixControl = { functionMask: 0x4000, enable: 0x8000 } as const;

/** Where a function has its MSI-X table and pending bits. */
export interface MsixPlace {
  readonly vectors: number;
  readonly bar: number;
  readonly table: number;
  readonly pending: number;
}

/** MSI-X. */
export function addMsix(space: ConfigSpace, offset: number, place: MsixPlace): void {
  addCapability(space, CapabilityId.msix, offset, 12);
  space.register(offset + 2, 2, place.vectors - 1, {
    writable: MsixControl.functionMask | MsixControl.enable,
  });
  space.set(offset + 4, 4, place.table | place.bar);
  space.set(offset + 8, 4, place.pending | place.bar);
}

/** Where virtio's registers of one kind are. */
export interface VirtioRegisters {
  /** 1: common, 2: notify, 3: ISR, 4: device. */
  readonly type: number;
  readonly bar: number;
  readonly start: number;
  readonly length: number;
  /** Of notify alone: bytes between the addresses of two queues. */
  readonly multiplier?: number;
}

/** A vendor capability of virtio's. Returns its length. */
export function addVirtioRegisters(
  space: ConfigSpace,
  offset: number,
  registers: VirtioRegisters,
): number {
  const length = registers.multiplier === undefined ? 16 : 20;
  addCapability(space, CapabilityId.vendor, offset, length);
  space.set(offset + 2, 1, length);
  space.set(offset + 3, 1, registers.type);
  space.set(offset + 4, 1, registers.bar);
  space.set(offset + 8, 4, registers.start);
  space.set(offset + 12, 4, registers.length);
  if (registers.multiplier !== undefined) space.set(offset + 16, 4, registers.multiplier);
  return length;
}

/** Virtio's window from configuration space into its BARs: BAR, offset, length and data are the guest's. */
export function addVirtioConfigAccess(space: ConfigSpace, offset: number): number {
  addCapability(space, CapabilityId.vendor, offset, 20);
  space.set(offset + 2, 1, 20);
  space.set(offset + 3, 1, 5);
  space.register(offset + 4, 1, 0, { writable: 0xff });
  for (const at of [8, 12, 16]) space.register(offset + at, 4, 0, { writable: 0xffffffff });
  return 20;
}
