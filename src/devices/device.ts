/** What every device model is made of: registers, interrupt lines and the guest's clock. */

/** Width in bytes of one access to a register, as {@linkcode RegisterRegion.read} gets it. */
export type AccessSize = 1 | 2 | 4;

/**
 * I/O ports or memory-mapped registers. Offsets count from the region's start. A region gets accesses as
 * wide as the guest makes them and need not be aligned; split_access.ts is for those whose
 * registers are bytes.
 *
 * An access of eight bytes goes to `read64` and `write64` if the region has them; otherwise it is two of
 * four bytes, the low half first. One that crosses the region's end is made byte by byte.
 */
export interface RegisterRegion {
  /** The value the guest reads, zero-extended. */
  read(offset: number, size: AccessSize): number;
  /** `value` is unsigned and fits `size`. */
  write(offset: number, size: AccessSize, value: number): void;
  /** Eight bytes at once. Both or none. */
  read64?(offset: number): bigint;
  write64?(offset: number, value: bigint): void;
}

/** How a region is put into an address space. */
export interface PlacementOptions {
  /**
   * Where regions overlap, the one with the higher priority answers; of equals, the one placed or moved
   * last. Absent: 0. BARs have 1, as QEMU gives them.
   */
  readonly priority?: number;
  /** The region's offset that answers at the placement's first address. Absent: 0. */
  readonly offset?: number;
}

/** A region at its place in an address space. Disposing it takes the region out. */
export interface Placement extends Disposable {
  readonly start: number;
  readonly length: number;
  /** Puts it elsewhere, `length` bytes of it if that is given. May be called while an access is served. */
  move(start: number, length?: number): void;
}

/** I/O ports, or the guest's physical memory as far as it is registers. */
export interface RegisterSpace {
  /**
   * Puts `length` bytes of a device's registers at `start`, for good or until the placement is moved or
   * disposed. `name` is what `info mtree` calls them. Throws if another region of the same priority is there.
   */
  map(
    name: string,
    start: number,
    length: number,
    region: RegisterRegion,
    options?: PlacementOptions,
  ): Placement;
  /** The same for registers whose place the guest chooses: they may overlap others. */
  place(
    name: string,
    start: number,
    length: number,
    region: RegisterRegion,
    options?: PlacementOptions,
  ): Placement;
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
