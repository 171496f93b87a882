/**
 * PCI Express capabilities: the one that makes a function express, error reporting (AER) and access
 * control (ACS). PCI Express Base Specification, chapter 7; values of a port's links are QEMU's.
 */
import {
  addCapability,
  addExtendedCapability,
  CapabilityId,
  ExtendedCapabilityId,
} from "./capabilities.ts";
import type { ConfigSpace } from "./config_space.ts";

/** Registers of the express capability, from its start. */
export const Express = {
  flags: 0x02,
  deviceCapabilities: 0x04,
  deviceControl: 0x08,
  deviceStatus: 0x0a,
  linkCapabilities: 0x0c,
  linkControl: 0x10,
  linkStatus: 0x12,
  slotCapabilities: 0x14,
  slotControl: 0x18,
  slotStatus: 0x1a,
  rootControl: 0x1c,
  deviceCapabilities2: 0x24,
  deviceControl2: 0x28,
  linkCapabilities2: 0x2c,
  linkControl2: 0x30,
} as const;

/** Bytes of version 2 of the capability. */
const EXPRESS_LENGTH = 0x3c;
/** Version and kind of device, in the flags. */
const ENDPOINT = 0x0002;
const ROOT_PORT_WITH_SLOT = 0x0142;

/** Bit of device control: resets the function. Reads as 0. */
export const FUNCTION_LEVEL_RESET = 0x8000;
/** Reporting of the four kinds of errors, in device control; the same bits report them in its status. */
const ERROR_REPORTING = 0x000f;
/** Role-based error reporting; maximum of 5-bit extended tags. */
const DEVICE_CAPABILITIES = 0x8020;
/** Bits of the link's status that say how it came up. */
const LINK_UP = 0x0011;

/** Declares what endpoints and ports have in common. */
function addExpress(space: ConfigSpace, offset: number, flags: number): void {
  addCapability(space, CapabilityId.express, offset, EXPRESS_LENGTH);
  const at = (register: number) => offset + register;
  space.set(at(Express.flags), 2, flags);
  space.set(at(Express.deviceCapabilities), 4, DEVICE_CAPABILITIES);
  space.register(at(Express.deviceControl), 2, 0, { writable: ERROR_REPORTING });
  space.register(at(Express.deviceStatus), 2, 0, { writeOneToClear: ERROR_REPORTING });
  // It follows what is at the other end of the link.
  space.register(at(Express.linkStatus), 2, 0, { volatile: 0xffff });
}

/** The capability of an endpoint that can be reset by itself. */
export function addExpressEndpoint(space: ConfigSpace, offset: number): void {
  addExpress(space, offset, ENDPOINT);
  const at = (register: number) => offset + register;
  space.set(at(Express.deviceCapabilities), 4, DEVICE_CAPABILITIES | 0x1000_0000);
  space.register(at(Express.deviceControl), 2, 0, {
    writable: ERROR_REPORTING | FUNCTION_LEVEL_RESET,
  });
  space.set(at(Express.linkCapabilities), 4, 0x0411);
  space.register(at(Express.linkControl), 2, 0, { writable: 0x00c0 });
  space.set(at(Express.linkStatus), 2, LINK_UP);
  space.set(at(Express.deviceCapabilities2), 4, 0x0030_0000);
  space.register(at(Express.deviceControl2), 2, 0, { writable: 0x8000 });
}

/** What a root port's capability says. */
export interface RootPortExpress {
  /** Physical slot number, 13 bits. */
  readonly slot: number;
  /** The link's number, 8 bits. */
  readonly port: number;
  /** Whether the slot says that the operating system may plug (it need not work). */
  readonly hotplug: boolean;
  /** Whether a device is in the slot. */
  readonly occupied: boolean;
}

/** The capability of a root port with a slot. */
export function addExpressRootPort(
  space: ConfigSpace,
  offset: number,
  port: RootPortExpress,
): void {
  addExpress(space, offset, ROOT_PORT_WITH_SLOT);
  const at = (register: number) => offset + register;
  space.set(at(Express.linkCapabilities), 4, (0x0030_0604 | port.port << 24) >>> 0);
  // Also of an empty slot: QEMU looks what is there when the register is read.
  space.set(at(Express.linkStatus), 2, LINK_UP);
  space.set(at(Express.slotCapabilities), 4, slotCapabilities(port));
  space.register(at(Express.slotControl), 2, port.occupied ? 0x03c0 : 0x07c0, {
    writable: 0x0ff9,
  });
  // Attention button, presence changed, command completed; whether something is there is not compared.
  space.register(at(Express.slotStatus), 2, 0, { writeOneToClear: 0x0019, volatile: 0x0040 });
  space.register(at(Express.rootControl), 2, 0, { writable: 0x0007 });
  space.set(at(Express.deviceCapabilities2), 4, 0x0030_0020);
  space.register(at(Express.deviceControl2), 2, 0, { writable: 0x8020 });
  space.set(at(Express.linkCapabilities2), 4, 0x1e);
  space.set(at(Express.linkControl2), 2, 0x0004);
}

/** Attention button, power controller and both indicators; with hotplug that, and its surprises. */
function slotCapabilities({ slot, hotplug }: RootPortExpress): number {
  return (slot << 19 | ELECTROMECHANICAL_INTERLOCK | 0x1b | (hotplug ? 0x60 : 0)) >>> 0;
}

const ELECTROMECHANICAL_INTERLOCK = 1 << 17;

/** Errors that cannot be corrected and that a port may report. */
const UNCORRECTABLE = 0x03ff_f030;
/** Those that are fatal after a reset. */
const FATAL = 0x0046_2030;
/** Errors that were corrected. */
const CORRECTABLE = 0xf1c1;
/** Those that are masked after a reset. */
const CORRECTABLE_MASKED = 0xe000;

/** Advanced error reporting, version 2, of a root port. */
export function addErrorReporting(space: ConfigSpace, offset: number): void {
  const { errorReporting: id } = ExtendedCapabilityId;
  addExtendedCapability(space, { id, version: 2, offset, length: 0x48 });
  const at = (register: number) => offset + register;
  space.register(at(0x04), 4, 0, { writeOneToClear: UNCORRECTABLE });
  space.register(at(0x08), 4, 0x0240_0000, { writable: UNCORRECTABLE });
  space.register(at(0x0c), 4, FATAL, { writable: UNCORRECTABLE });
  space.register(at(0x10), 4, 0, { writeOneToClear: CORRECTABLE });
  space.register(at(0x14), 4, CORRECTABLE_MASKED, { writable: CORRECTABLE });
  space.register(at(0x18), 4, 0x0000_02a0, { writable: 0x0540 });
  space.register(at(0x2c), 4, 0, { writable: 0x0007 });
  // The number of the message that reports errors follows MSI and MSI-X.
  space.register(at(0x30), 4, 0, { writeOneToClear: 0x7f, volatile: 0xf800_0000 });
}

/** Access control services of a root port. */
export function addAccessControl(space: ConfigSpace, offset: number): void {
  const { accessControl: id } = ExtendedCapabilityId;
  addExtendedCapability(space, { id, version: 1, offset, length: 8 });
  space.set(offset + 4, 2, 0x5f);
  space.register(offset + 6, 2, 0, { writable: 0x5f });
}
