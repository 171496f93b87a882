/**
 * The MC146818 real-time clock and its CMOS RAM: index port 0x70, data port 0x71, interrupt 8.
 *
 * Nothing ticks. The time is kept as `baseRtc` seconds at the moment `lastUpdate` of a clock, and is
 * worked out when the guest looks. Two timers run only while they have something to do: the update
 * timer at the next second boundary whose update-ended or alarm flag the guest could notice, and the
 * periodic timer.
 *
 * What the data sheet leaves open, and the saved state, are as on QEMU's device.
 */
import { isCalendar, readCalendar, secondsToAlarm, writeCalendar } from "./cmos_time.ts";
import type {
  AccessSize,
  InterruptLine,
  RegisterRegion,
  Resettable,
  VirtualClock,
  VirtualTimer,
} from "./device.ts";
import { PeriodicTimer, TICKS_PER_SECOND } from "./rtc_periodic.ts";
import { Cmos, RegisterA, RegisterB, RegisterC, RegisterD } from "./rtc_registers.ts";
import { type RtcRegisters, type RtcState, rtcState } from "./rtc_state.ts";
import { readBytes, writeBytes } from "./split_access.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";

const SECOND = 1_000_000_000n;
/** The update cycle: UIP is set for so long before a second ends (8 ticks). */
const UPDATE_CYCLE = 8n * SECOND / TICKS_PER_SECOND;
/** The first second after the dividers leave reset is half as long. */
const HALF_SECOND = SECOND / 2n;
/** An alarm that never comes. */
const NEVER = 0x7fff_ffff_ffff_ffffn;

/** What -rtc base= says: the host's UTC or local time, or a time in seconds since 1970. */
export type RtcBase = "utc" | "localtime" | number;

/** What the clock depends on. */
export interface RtcDependencies {
  irq: InterruptLine;
  /** What it runs on (-rtc clock=): the host's clock or the machine's virtual one. */
  clock: VirtualClock;
  /** False if the clock's readings mean nothing after a migration (-rtc clock=rt). */
  clockSurvivesMigration: boolean;
  /** The time at creation, in seconds since 1970. See {@linkcode rtcStartTime}. */
  startTime: number;
  /** The guest has set the time, in seconds since 1970. */
  onTimeSet?: (seconds: number) => void;
}

/** The clock's time at start for `base`, when the host's time is `hostSeconds` since 1970. */
export function rtcStartTime(base: RtcBase, hostSeconds: number): number {
  if (base === "utc") return hostSeconds;
  if (base === "localtime") {
    return hostSeconds - new Date(hostSeconds * 1000).getTimezoneOffset() * 60;
  }
  return base;
}

/** The clock at its two ports. */
export class Rtc implements RegisterRegion, SavedDevice<RtcState>, Resettable {
  readonly idstr = "mc146818rtc";
  readonly instanceId = 0;
  readonly description = rtcState;
  readonly #dependencies: RtcDependencies;
  readonly #clock: VirtualClock;
  readonly #updateTimer: VirtualTimer;
  readonly #periodic: PeriodicTimer;
  /**
   * All that is saved but the timers: `baseRtc` seconds since 1970 at `lastUpdate`, plus `offset` ns, signed
   * here.
   */
  #state: RtcRegisters;

  constructor(dependencies: RtcDependencies) {
    this.#dependencies = dependencies;
    this.#clock = dependencies.clock;
    this.#updateTimer = this.#clock.timer(() => this.#update());
    this.#periodic = new PeriodicTimer(
      this.#clock,
      () => ({ a: this.#a, b: this.#b }),
      () => this.#periodicTick(),
    );
    const cmosData = new Uint8Array(128);
    cmosData[Cmos.a] = 0x26;
    cmosData[Cmos.b] = RegisterB.hours24;
    cmosData[Cmos.d] = RegisterD.valid;
    this.#state = {
      cmosData,
      cmosIndex: 0,
      baseRtc: BigInt(Math.trunc(dependencies.startTime)),
      lastUpdate: this.#clock.now(),
      offset: 0n,
      nextAlarmTime: 0n,
      irqReinjectOnAckCount: 0,
    };
    writeCalendar(this.#state.cmosData, Number(this.#state.baseRtc));
    this.#scheduleUpdate();
  }

  /** Sets a byte of CMOS RAM, as firmware setup would. Not for the registers 0x00 to 0x0d. */
  setByte(index: number, value: number): void {
    if (index <= Cmos.d || index >= this.#state.cmosData.length) {
      throw new RangeError(`CMOS byte 0x${index.toString(16)} is not RAM`);
    }
    this.#state.cmosData[index] = value;
  }

  reset(): void {
    this.#state.cmosData[Cmos.b] = this.#b &
      ~(RegisterB.periodic | RegisterB.alarm | RegisterB.squareWave);
    this.#state.cmosData[Cmos.c] = 0;
    this.#scheduleUpdate();
    this.#periodic.restart();
    this.#dependencies.irq.set(false);
  }

  read(offset: number, size: AccessSize): number {
    if (size !== 1) return readBytes(this, offset, size);
    if (offset !== 1) return 0xff;
    if (this.#state.cmosIndex === Cmos.ps2Century) this.#state.cmosIndex = Cmos.century;
    if (isCalendar(this.#state.cmosIndex)) return this.#readCalendar(this.#state.cmosIndex);
    switch (this.#state.cmosIndex) {
      case Cmos.a:
        return this.#a | (this.#updateInProgress() ? RegisterA.updateInProgress : 0);
      case Cmos.c:
        return this.#acknowledge();
      default:
        return this.#state.cmosData[this.#state.cmosIndex] ?? 0;
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 1) return writeBytes(this, offset, size, value);
    if (offset === 0) {
      this.#state.cmosIndex = value & 0x7f;
      return;
    }
    if (offset !== 1) return;
    if (this.#state.cmosIndex === Cmos.ps2Century) this.#state.cmosIndex = Cmos.century;
    if (isCalendar(this.#state.cmosIndex)) {
      this.#writeCalendar(this.#state.cmosIndex, value);
      return;
    }
    switch (this.#state.cmosIndex) {
      case Cmos.secondsAlarm:
      case Cmos.minutesAlarm:
      case Cmos.hoursAlarm:
        this.#state.cmosData[this.#state.cmosIndex] = value;
        this.#scheduleUpdate();
        return;
      case Cmos.a:
        this.#writeA(value);
        return;
      case Cmos.b:
        this.#writeB(value);
        return;
      case Cmos.c:
      case Cmos.d:
        return;
      default:
        this.#state.cmosData[this.#state.cmosIndex] = value;
    }
  }

  save(): RtcState {
    const { cmosData, baseRtc, lastUpdate } = this.#state;
    return {
      ...this.#state,
      cmosData: cmosData.slice(),
      ...this.#periodic.save(),
      baseRtc: BigInt.asUintN(64, baseRtc),
      lastUpdate: BigInt.asUintN(64, lastUpdate),
      updateTimer: this.#updateTimer.expiry,
    };
  }

  load(state: RtcState): void {
    this.#state = {
      ...state,
      cmosData: state.cmosData.slice(),
      cmosIndex: state.cmosIndex & 0x7f,
      baseRtc: BigInt.asIntN(64, state.baseRtc),
      lastUpdate: BigInt.asIntN(64, state.lastUpdate),
    };
    if (state.updateTimer === undefined) this.#updateTimer.disarm();
    else this.#updateTimer.arm(state.updateTimer);
    this.#periodic.load(state);
    if (!this.#dependencies.clockSurvivesMigration) {
      this.#setTimeFromCalendar();
      this.#state.offset = 0n;
      this.#scheduleUpdate();
      this.#periodic.restart();
    } else if (this.#periodic.beyondPeriod) {
      // The host's clock is behind the one this was saved under.
      this.#periodic.restart();
    }
  }

  get #a(): number {
    return this.#state.cmosData[Cmos.a] ?? 0;
  }

  get #b(): number {
    return this.#state.cmosData[Cmos.b] ?? 0;
  }

  get #c(): number {
    return this.#state.cmosData[Cmos.c] ?? 0;
  }

  /** Whether the calendar counts. */
  get #running(): boolean {
    return (this.#b & RegisterB.set) === 0 &&
      (this.#a & RegisterA.divider) <= RegisterA.dividerCounting;
  }

  /** The guest's time in ns since 1970. */
  #time(): bigint {
    return this.#state.baseRtc * SECOND + this.#clock.now() - this.#state.lastUpdate +
      this.#state.offset;
  }

  #readCalendar(index: number): number {
    if (this.#running) this.#refreshCalendar();
    return this.#state.cmosData[index] ?? 0;
  }

  #writeCalendar(index: number, value: number): void {
    this.#state.cmosData[index] = value;
    if (!this.#running) return;
    this.#setTimeFromCalendar();
    this.#scheduleUpdate();
  }

  #writeA(value: number): void {
    const wasReset = (this.#a & RegisterA.dividerReset) === RegisterA.dividerReset;
    let updating = this.#a & RegisterA.updateInProgress;
    if ((value & RegisterA.dividerReset) === RegisterA.dividerReset) {
      if (this.#running) this.#refreshCalendar();
      updating = 0;
    } else if (wasReset && (value & RegisterA.divider) <= RegisterA.dividerCounting) {
      if ((this.#b & RegisterB.set) === 0) {
        this.#state.offset = HALF_SECOND;
        this.#setTimeFromCalendar();
      }
      updating = 0;
    }
    const rateChanged = ((this.#a ^ value) & RegisterA.rate) !== 0;
    this.#state.cmosData[Cmos.a] = (value & ~RegisterA.updateInProgress) | updating;
    if (rateChanged) this.#periodic.change();
    this.#scheduleUpdate();
  }

  #writeB(value: number): void {
    const periodicChanged = ((this.#b ^ value) & RegisterB.periodic) !== 0;
    if ((value & RegisterB.set) !== 0) {
      if (this.#running) this.#refreshCalendar();
      this.#state.cmosData[Cmos.a] = this.#a & ~RegisterA.updateInProgress;
      value &= ~RegisterB.update;
    } else if (
      (this.#b & RegisterB.set) !== 0 && (this.#a & RegisterA.divider) <= RegisterA.dividerCounting
    ) {
      this.#state.offset = modulo(this.#time(), SECOND);
      this.#setTimeFromCalendar();
    }
    // Enabling an interrupt whose flag is set raises it at once.
    const pending = (value & this.#c & RegisterC.sources) !== 0;
    this.#state.cmosData[Cmos.c] = (this.#c & ~RegisterC.interrupt) |
      (pending ? RegisterC.interrupt : 0);
    this.#dependencies.irq.set(pending);
    this.#state.cmosData[Cmos.b] = value;
    if (periodicChanged) this.#periodic.change();
    this.#scheduleUpdate();
  }

  /** Reading register C clears it and the interrupt. */
  #acknowledge(): number {
    const flags = this.#c;
    this.#dependencies.irq.set(false);
    this.#state.cmosData[Cmos.c] = 0;
    if ((flags & (RegisterC.update | RegisterC.alarm)) !== 0) this.#scheduleUpdate();
    return flags;
  }

  /** Brings the calendar registers up to date. */
  #refreshCalendar(): void {
    if ((this.#b & RegisterB.set) !== 0) return;
    const time = this.#time();
    writeCalendar(this.#state.cmosData, Number((time - modulo(time, SECOND)) / SECOND));
  }

  #setTimeFromCalendar(): void {
    const seconds = readCalendar(this.#state.cmosData);
    this.#state.baseRtc = BigInt(seconds);
    this.#state.lastUpdate = this.#clock.now();
    this.#dependencies.onTimeSet?.(seconds);
  }

  #updateInProgress(): boolean {
    if (!this.#running) return false;
    const expiry = this.#updateTimer.expiry;
    if (expiry !== undefined && this.#clock.now() >= expiry - UPDATE_CYCLE) {
      // It stays set until the timer ends the update, so that a late timer cannot show a torn time.
      this.#state.cmosData[Cmos.a] = this.#a | RegisterA.updateInProgress;
      return true;
    }
    return modulo(this.#time(), SECOND) >= SECOND - UPDATE_CYCLE;
  }

  /** Arms the update timer for the next second that sets a flag, or not if no flag can change. */
  #scheduleUpdate(): void {
    if ((this.#a & RegisterA.dividerReset) === RegisterA.dividerReset) {
      this.#updateTimer.disarm();
      return;
    }
    const nextSecond = this.#clock.now() + SECOND - modulo(this.#time(), SECOND);
    this.#refreshCalendar();
    const alarm = secondsToAlarm(this.#state.cmosData);
    this.#state.nextAlarmTime = alarm === undefined
      ? NEVER
      : nextSecond + BigInt(alarm - 1) * SECOND;
    let next = nextSecond;
    if ((this.#a & RegisterA.updateInProgress) === 0 && (this.#c & RegisterC.update) !== 0) {
      if (
        (this.#b & RegisterB.set) !== 0 || (this.#c & RegisterC.alarm) !== 0 ||
        this.#state.nextAlarmTime === NEVER
      ) {
        this.#updateTimer.disarm();
        return;
      }
      next = this.#state.nextAlarmTime;
    }
    if (this.#updateTimer.expiry !== next) this.#updateTimer.arm(next);
  }

  /** A second has ended. */
  #update(): void {
    this.#refreshCalendar();
    this.#state.cmosData[Cmos.a] = this.#a & ~RegisterA.updateInProgress;
    this.#setFlags(
      this.#clock.now() >= this.#state.nextAlarmTime
        ? RegisterC.update | RegisterC.alarm
        : RegisterC.update,
    );
    this.#scheduleUpdate();
  }

  #setFlags(flags: number): void {
    const added = flags & ~this.#c;
    this.#state.cmosData[Cmos.c] = this.#c | flags;
    if ((added & this.#b) === 0) return;
    this.#state.cmosData[Cmos.c] = this.#c | RegisterC.interrupt;
    this.#dependencies.irq.set(true);
  }

  #periodicTick(): void {
    this.#state.cmosData[Cmos.c] = this.#c | RegisterC.periodic;
    if ((this.#b & RegisterB.periodic) === 0) return;
    this.#state.cmosData[Cmos.c] = this.#c | RegisterC.interrupt;
    this.#dependencies.irq.set(true);
  }
}

/** The remainder from 0 to `divisor` - 1, for a time before 1970 as well. */
function modulo(value: bigint, divisor: bigint): bigint {
  const remainder = value % divisor;
  return remainder < 0n ? remainder + divisor : remainder;
}
