/** The standard headers: type 0 of devices and type 1 of bridges. */
import { type AccessSize } from "../device.ts";
import type { ConfigSpace } from "./config_space.ts";

/** Registers that both headers have. */
export const Header = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  programmingInterface: 0x09,
  class: 0x0a,
  cacheLineSize: 0x0c,
  headerType: 0x0e,
  bars: 0x10,
  subsystemVendor: 0x2c,
  subsystem: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

/** Registers of the type 1 header alone. */
export const Bridge = {
  primaryBus: 0x18,
  secondaryBus: 0x19,
  subordinateBus: 0x1a,
  secondaryLatency: 0x1b,
  ioBase: 0x1c,
  ioLimit: 0x1d,
  secondaryStatus: 0x1e,
  memoryBase: 0x20,
  memoryLimit: 0x22,
  prefetchableBase: 0x24,
  prefetchableLimit: 0x26,
  prefetchableBaseHigh: 0x28,
  prefetchableLimitHigh: 0x2c,
  ioBaseHigh: 0x30,
  ioLimitHigh: 0x32,
  control: 0x3e,
} as const;

/** Bits of the command register. */
export const Command = {
  io: 0x0001,
  memory: 0x0002,
  busMaster: 0x0004,
  parity: 0x0040,
  serr: 0x0100,
  interruptDisable: 0x0400,
} as const;

/** Bits of the status register. */
export const Status = { interrupt: 0x0008, capabilities: 0x0010 } as const;
/** Bits of the status register, and of a bridge's secondary one, that report errors. */
const STATUS_ERRORS = 0xf900;
/** Bit of the header type: the device has more functions than this one. */
const MULTIFUNCTION = 0x80;

/** Bit of a bridge's control register: resets the secondary bus. */
export const BRIDGE_BUS_RESET = 0x0040;
/** Bits of a bridge's control register that the guest sets. */
const BRIDGE_CONTROL = 0x005f;
/** Discard timer status, cleared by writing 1. */
const BRIDGE_DISCARD_STATUS = 0x0400;

/** What a function is. */
export interface Identity {
  readonly vendor: number;
  readonly device: number;
  readonly revision?: number;
  /** Base class, subclass and programming interface as 24 bits, e.g. 0x010601. */
  readonly classCode: number;
  /** Absent: the header has no subsystem IDs, as a bridge's. */
  readonly subsystem?: { readonly vendor: number; readonly device: number };
  readonly multifunction?: boolean;
  /** 0: none, 1: INTA, ... 4: INTD. */
  readonly interruptPin?: number;
}

/** Declares what both headers have. */
function commonHeader(space: ConfigSpace, identity: Identity, layout: 0 | 1): void {
  const identifying = (offset: number, size: AccessSize, value: number) =>
    space.register(offset, size, value);
  identifying(Header.vendor, 2, identity.vendor);
  identifying(Header.device, 2, identity.device);
  const { io, memory, busMaster, serr, interruptDisable } = Command;
  space.storage(Header.command, 2, 0, {
    writable: io | memory | busMaster | serr | interruptDisable,
  });
  space.register(Header.status, 2, 0, {
    writeOneToClear: STATUS_ERRORS,
    volatile: 0xffff & ~Status.capabilities,
  });
  identifying(Header.revision, 1, identity.revision ?? 0);
  identifying(Header.programmingInterface, 1, identity.classCode & 0xff);
  identifying(Header.class, 2, identity.classCode >>> 8);
  space.storage(Header.cacheLineSize, 1, 0, { writable: 0xff });
  identifying(Header.headerType, 1, layout | (identity.multifunction ? MULTIFUNCTION : 0));
  identifying(Header.capabilities, 1, 0);
  space.storage(Header.interruptLine, 1, 0, { writable: 0xff });
  space.storage(Header.interruptPin, 1, identity.interruptPin ?? 0);
}

/** Declares the header of a device. */
export function deviceHeader(space: ConfigSpace, identity: Identity): void {
  commonHeader(space, identity, 0);
  if (identity.subsystem === undefined) return;
  space.storage(Header.subsystemVendor, 2, identity.subsystem.vendor);
  space.storage(Header.subsystem, 2, identity.subsystem.device);
}

/**
 * Declares the header of a bridge, with windows for I/O and for prefetchable memory of 64 bits. They are
 * closed: their bases are above their limits.
 */
export function bridgeHeader(space: ConfigSpace, identity: Identity): void {
  commonHeader(space, identity, 1);
  for (let at = Bridge.primaryBus; at <= Bridge.subordinateBus; at++) {
    space.storage(at, 1, 0, { writable: 0xff });
  }
  // The low four bits say which kinds of address the window takes; a load compares them.
  space.register(Bridge.ioBase, 1, 0xf0, { writable: 0xf0 });
  space.register(Bridge.ioLimit, 1, 0, { writable: 0xf0 });
  space.storage(Bridge.secondaryStatus, 2, 0, { writeOneToClear: STATUS_ERRORS });
  space.storage(Bridge.memoryBase, 2, 0xfff0, { writable: 0xfff0 });
  space.storage(Bridge.memoryLimit, 2, 0, { writable: 0xfff0 });
  space.register(Bridge.prefetchableBase, 2, 0xfff0 | WINDOW_64_BIT, { writable: 0xfff0 });
  space.register(Bridge.prefetchableLimit, 2, WINDOW_64_BIT, { writable: 0xfff0 });
  space.storage(Bridge.prefetchableBaseHigh, 4, 0, { writable: 0xffffffff });
  space.storage(Bridge.prefetchableLimitHigh, 4, 0, { writable: 0xffffffff });
  space.storage(Bridge.control, 2, 0, {
    writable: BRIDGE_CONTROL,
    writeOneToClear: BRIDGE_DISCARD_STATUS,
  });
}

/** A prefetchable window's type: its addresses have 64 bits. */
const WINDOW_64_BIT = 1;
