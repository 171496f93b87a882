/** What every device model is made of: registers, interrupt lines and the guest's clock. */

/** Width in bytes of one access to a register. The bus splits wider ones, low address first. */
export type AccessSize = 1 | 2 | 4;

/** I/O ports or memory-mapped registers. Offsets count from the region's start. */
export interface RegisterRegion {
  /** The value the guest reads, zero-extended. */
  read(offset: number, size: AccessSize): number;
  /** `value` is unsigned and fits `size`. */
  write(offset: number, size: AccessSize, value: number): void;
}

/** An input of an interrupt controller. */
export interface InterruptLine {
  /** Raises or lowers the line. Setting the level it has is allowed and changes nothing. */
  set(level: boolean): void;
}

/** A timer on the guest's virtual clock: it does not expire while the machine is stopped. */
export interface VirtualTimer extends Disposable {
  /** Fires once at `expiry` (virtual-clock ns); at once if that is past. Replaces an earlier expiry. */
  arm(expiry: bigint): void;
  disarm(): void;
  /** Virtual-clock ns at which it fires, `undefined` if it is not armed. Saved by device state. */
  readonly expiry: bigint | undefined;
}

/** Time as devices see it: nanoseconds the machine has been running. */
export interface VirtualClock {
  now(): bigint;
  timer(handler: () => void): VirtualTimer;
}

/** A device's part in the machine's reset. */
export interface Resettable {
  /** Returns to the state after power-on. */
  reset(): void;
}

/**
 * A device that works on its own, beyond answering the guest's accesses and {@linkcode VirtualTimer}s:
 * it takes input or retries output. Devices are created stopped. While stopped such a device starts
 * nothing, so that what was saved stays true.
 */
export interface RunStateListener {
  /** The machine starts (true) or has stopped (false). */
  runStateChanged(running: boolean): void;
}

/**
 * An access that has to wait: the device has requests under way that use the guest's memory. Nothing was
 * changed; the machine repeats the access when they have ended.
 */
export class DeviceBusyError extends Error {
  override readonly name = "DeviceBusyError";

  /** `device` names what has the requests. */
  constructor(device: string) {
    super(`requests of ${device} are under way`);
  }
}

/** A saved state that decoded but contradicts itself or the machine. */
export class DeviceStateError extends Error {
  override readonly name = "DeviceStateError";
}
