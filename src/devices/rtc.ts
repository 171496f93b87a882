/**
 * The MC146818 real-time clock and its CMOS RAM: index port 0x70, data port 0x71, interrupt 8.
 *
 * Nothing ticks. The time is kept as `baseRtc` seconds at the moment `lastUpdate` of a clock, and is
 * worked out when the guest looks. Two timers run only while they have something to do: the update
 * timer at the next second boundary whose update-ended or alarm flag the guest could notice, and the
 * periodic timer.
 *
 * Register bits are those of the MC146818A data sheet; what it leaves open, and the saved state, are
 * as on QEMU's device.
 */
import { Cmos, readCalendar, secondsToAlarm, writeCalendar } from "./cmos_time.ts";
import type {
  AccessSize,
  InterruptLine,
  RegisterRegion,
  Resettable,
  VirtualClock,
  VirtualTimer,
} from "./device.ts";
import { type RtcState, rtcState } from "./rtc_state.ts";
import { readBytes, writeBytes } from "./split_access.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";

/** Index and data port, and the interrupt. */
export const RTC_PORT = 0x70;
export const RTC_PORT_LENGTH = 2;
export const RTC_IRQ = 8;

const A_UPDATE_IN_PROGRESS = 0x80;
const A_DIVIDER = 0x70;
const A_DIVIDER_RESET = 0x60;
/** The highest divider value with which the clock counts. */
const A_DIVIDER_COUNTING = 0x20;
const A_RATE = 0x0f;

const B_SET = 0x80;
const B_PERIODIC = 0x40;
const B_ALARM = 0x20;
const B_UPDATE = 0x10;
const B_SQUARE_WAVE = 0x08;
const B_24_HOURS = 0x02;

const C_INTERRUPT = 0x80;
const C_PERIODIC = 0x40;
const C_ALARM = 0x20;
const C_UPDATE = 0x10;
const C_SOURCES = 0x70;

const D_VALID = 0x80;

const SECOND = 1_000_000_000n;
/** Ticks of the time base in a second. */
const TICKS_PER_SECOND = 32768n;
/** The update cycle: UIP is set for so long before a second ends (8 ticks). */
const UPDATE_CYCLE = 8n * SECOND / TICKS_PER_SECOND;
/** The first second after the dividers leave reset is half as long. */
const HALF_SECOND = SECOND / 2n;
/** An alarm that never comes. */
const NEVER = 0x7fff_ffff_ffff_ffffn;

/** What -rtc base= says: the host's UTC or local time, or a time in seconds since 1970. */
export type RtcBase = "utc" | "localtime" | number;

/** What surrounds the clock. */
export interface RtcSurroundings {
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
  readonly #surroundings: RtcSurroundings;
  readonly #clock: VirtualClock;
  readonly #updateTimer: VirtualTimer;
  readonly #periodicTimer: VirtualTimer;
  readonly #cmos = new Uint8Array(128);
  #index = 0;
  /** Seconds since 1970 at `#lastUpdate`, plus `#offset` ns. */
  #baseRtc: bigint;
  #lastUpdate: bigint;
  #offset = 0n;
  #nextAlarmTime = 0n;
  #nextPeriodicTime = 0n;
  /** Ticks between periodic interrupts, 0 if they are off. */
  #period = 0n;
  #irqCoalesced = 0;
  #irqReinjectOnAckCount = 0;

  constructor(surroundings: RtcSurroundings) {
    this.#surroundings = surroundings;
    this.#clock = surroundings.clock;
    this.#updateTimer = this.#clock.timer(() => this.#update());
    this.#periodicTimer = this.#clock.timer(() => this.#periodicTick());
    this.#cmos[Cmos.a] = 0x26;
    this.#cmos[Cmos.b] = B_24_HOURS;
    this.#cmos[Cmos.d] = D_VALID;
    this.#baseRtc = BigInt(Math.trunc(surroundings.startTime));
    this.#lastUpdate = this.#clock.now();
    writeCalendar(this.#cmos, Number(this.#baseRtc));
    this.#scheduleUpdate();
  }

  /** Sets a byte of CMOS RAM, as firmware setup would. Not for the registers 0x00 to 0x0d. */
  setByte(index: number, value: number): void {
    if (index <= Cmos.d || index >= this.#cmos.length) {
      throw new RangeError(`CMOS byte 0x${index.toString(16)} is not RAM`);
    }
    this.#cmos[index] = value;
  }

  reset(): void {
    this.#cmos[Cmos.b] = this.#b & ~(B_PERIODIC | B_ALARM | B_SQUARE_WAVE);
    this.#cmos[Cmos.c] = 0;
    this.#scheduleUpdate();
    this.#schedulePeriodic(this.#clock.now());
    this.#surroundings.irq.set(false);
  }

  read(offset: number, size: AccessSize): number {
    if (size !== 1) return readBytes(this, offset, size);
    if (offset !== 1) return 0xff;
    switch (this.#index) {
      case Cmos.ps2Century:
        this.#index = Cmos.century;
        return this.#readCalendar(Cmos.century);
      case Cmos.seconds:
      case Cmos.minutes:
      case Cmos.hours:
      case Cmos.dayOfWeek:
      case Cmos.dayOfMonth:
      case Cmos.month:
      case Cmos.year:
      case Cmos.century:
        return this.#readCalendar(this.#index);
      case Cmos.a:
        return this.#a | (this.#updateInProgress() ? A_UPDATE_IN_PROGRESS : 0);
      case Cmos.c:
        return this.#acknowledge();
      default:
        return this.#cmos[this.#index] ?? 0;
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 1) return writeBytes(this, offset, size, value);
    if (offset === 0) {
      this.#index = value & 0x7f;
      return;
    }
    if (offset !== 1) return;
    switch (this.#index) {
      case Cmos.secondsAlarm:
      case Cmos.minutesAlarm:
      case Cmos.hoursAlarm:
        this.#cmos[this.#index] = value;
        this.#scheduleUpdate();
        return;
      case Cmos.ps2Century:
        this.#index = Cmos.century;
        this.#writeCalendar(Cmos.century, value);
        return;
      case Cmos.seconds:
      case Cmos.minutes:
      case Cmos.hours:
      case Cmos.dayOfWeek:
      case Cmos.dayOfMonth:
      case Cmos.month:
      case Cmos.year:
      case Cmos.century:
        this.#writeCalendar(this.#index, value);
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
        this.#cmos[this.#index] = value;
    }
  }

  save(): RtcState {
    return {
      cmosData: this.#cmos.slice(),
      cmosIndex: this.#index,
      periodicTimer: this.#periodicTimer.expiry,
      nextPeriodicTime: this.#nextPeriodicTime,
      irqCoalesced: this.#irqCoalesced,
      period: Number(this.#period),
      baseRtc: BigInt.asUintN(64, this.#baseRtc),
      lastUpdate: BigInt.asUintN(64, this.#lastUpdate),
      offset: this.#offset,
      updateTimer: this.#updateTimer.expiry,
      nextAlarmTime: this.#nextAlarmTime,
      irqReinjectOnAckCount: this.#irqReinjectOnAckCount,
    };
  }

  load(state: RtcState): void {
    this.#cmos.set(state.cmosData);
    this.#index = state.cmosIndex & 0x7f;
    this.#irqCoalesced = state.irqCoalesced;
    this.#irqReinjectOnAckCount = state.irqReinjectOnAckCount;
    this.#baseRtc = BigInt.asIntN(64, state.baseRtc);
    this.#lastUpdate = BigInt.asIntN(64, state.lastUpdate);
    this.#offset = state.offset;
    this.#nextAlarmTime = state.nextAlarmTime;
    this.#nextPeriodicTime = state.nextPeriodicTime;
    this.#period = this.#selectedPeriod();
    restore(this.#updateTimer, state.updateTimer);
    restore(this.#periodicTimer, state.periodicTimer);
    if (!this.#surroundings.clockSurvivesMigration) {
      this.#setTimeFromCalendar();
      this.#offset = 0n;
      this.#scheduleUpdate();
      this.#schedulePeriodic(this.#clock.now());
    } else if (this.#nextPeriodicTime - this.#clock.now() > ticksToNs(this.#period)) {
      // The host's clock is behind the one this was saved under.
      this.#schedulePeriodic(this.#clock.now());
    }
  }

  get #a(): number {
    return this.#cmos[Cmos.a] ?? 0;
  }

  get #b(): number {
    return this.#cmos[Cmos.b] ?? 0;
  }

  get #c(): number {
    return this.#cmos[Cmos.c] ?? 0;
  }

  /** Whether the calendar counts. */
  get #running(): boolean {
    return (this.#b & B_SET) === 0 && (this.#a & A_DIVIDER) <= A_DIVIDER_COUNTING;
  }

  /** The guest's time in ns since 1970. */
  #time(): bigint {
    return this.#baseRtc * SECOND + this.#clock.now() - this.#lastUpdate + this.#offset;
  }

  #readCalendar(index: number): number {
    if (this.#running) this.#refreshCalendar();
    return this.#cmos[index] ?? 0;
  }

  #writeCalendar(index: number, value: number): void {
    this.#cmos[index] = value;
    if (!this.#running) return;
    this.#setTimeFromCalendar();
    this.#scheduleUpdate();
  }

  #writeA(value: number): void {
    const wasReset = (this.#a & A_DIVIDER_RESET) === A_DIVIDER_RESET;
    let updating = this.#a & A_UPDATE_IN_PROGRESS;
    if ((value & A_DIVIDER_RESET) === A_DIVIDER_RESET) {
      if (this.#running) this.#refreshCalendar();
      updating = 0;
    } else if (wasReset && (value & A_DIVIDER) <= A_DIVIDER_COUNTING) {
      if ((this.#b & B_SET) === 0) {
        this.#offset = HALF_SECOND;
        this.#setTimeFromCalendar();
      }
      updating = 0;
    }
    const rateChanged = ((this.#a ^ value) & A_RATE) !== 0;
    this.#cmos[Cmos.a] = (value & ~A_UPDATE_IN_PROGRESS) | updating;
    if (rateChanged) this.#changePeriod();
    this.#scheduleUpdate();
  }

  #writeB(value: number): void {
    const periodicChanged = ((this.#b ^ value) & B_PERIODIC) !== 0;
    if ((value & B_SET) !== 0) {
      if (this.#running) this.#refreshCalendar();
      this.#cmos[Cmos.a] = this.#a & ~A_UPDATE_IN_PROGRESS;
      value &= ~B_UPDATE;
    } else if ((this.#b & B_SET) !== 0 && (this.#a & A_DIVIDER) <= A_DIVIDER_COUNTING) {
      this.#offset = modulo(this.#time(), SECOND);
      this.#setTimeFromCalendar();
    }
    // Enabling an interrupt whose flag is set raises it at once.
    const pending = (value & this.#c & C_SOURCES) !== 0;
    this.#cmos[Cmos.c] = (this.#c & ~C_INTERRUPT) | (pending ? C_INTERRUPT : 0);
    this.#surroundings.irq.set(pending);
    this.#cmos[Cmos.b] = value;
    if (periodicChanged) this.#changePeriod();
    this.#scheduleUpdate();
  }

  /** Reading register C clears it and the interrupt. */
  #acknowledge(): number {
    const flags = this.#c;
    this.#surroundings.irq.set(false);
    this.#cmos[Cmos.c] = 0;
    if ((flags & (C_UPDATE | C_ALARM)) !== 0) this.#scheduleUpdate();
    return flags;
  }

  /** Brings the calendar registers up to date. */
  #refreshCalendar(): void {
    if ((this.#b & B_SET) !== 0) return;
    const time = this.#time();
    writeCalendar(this.#cmos, Number((time - modulo(time, SECOND)) / SECOND));
  }

  #setTimeFromCalendar(): void {
    const seconds = readCalendar(this.#cmos);
    this.#baseRtc = BigInt(seconds);
    this.#lastUpdate = this.#clock.now();
    this.#surroundings.onTimeSet?.(seconds);
  }

  #updateInProgress(): boolean {
    if (!this.#running) return false;
    const expiry = this.#updateTimer.expiry;
    if (expiry !== undefined && this.#clock.now() >= expiry - UPDATE_CYCLE) {
      // It stays set until the timer ends the update, so that a late timer cannot show a torn time.
      this.#cmos[Cmos.a] = this.#a | A_UPDATE_IN_PROGRESS;
      return true;
    }
    return modulo(this.#time(), SECOND) >= SECOND - UPDATE_CYCLE;
  }

  /** Arms the update timer for the next second that sets a flag, or not if no flag can change. */
  #scheduleUpdate(): void {
    if ((this.#a & A_DIVIDER_RESET) === A_DIVIDER_RESET) {
      this.#updateTimer.disarm();
      return;
    }
    const nextSecond = this.#clock.now() + SECOND - modulo(this.#time(), SECOND);
    this.#refreshCalendar();
    const alarm = secondsToAlarm(this.#cmos);
    this.#nextAlarmTime = alarm === undefined ? NEVER : nextSecond + BigInt(alarm - 1) * SECOND;
    let next = nextSecond;
    if ((this.#a & A_UPDATE_IN_PROGRESS) === 0 && (this.#c & C_UPDATE) !== 0) {
      if ((this.#b & B_SET) !== 0 || (this.#c & C_ALARM) !== 0 || this.#nextAlarmTime === NEVER) {
        this.#updateTimer.disarm();
        return;
      }
      next = this.#nextAlarmTime;
    }
    if (this.#updateTimer.expiry !== next) this.#updateTimer.arm(next);
  }

  /** A second has ended. */
  #update(): void {
    this.#refreshCalendar();
    this.#cmos[Cmos.a] = this.#a & ~A_UPDATE_IN_PROGRESS;
    this.#setFlags(this.#clock.now() >= this.#nextAlarmTime ? C_UPDATE | C_ALARM : C_UPDATE);
    this.#scheduleUpdate();
  }

  #setFlags(flags: number): void {
    const added = flags & ~this.#c;
    this.#cmos[Cmos.c] = this.#c | flags;
    if ((added & this.#b) === 0) return;
    this.#cmos[Cmos.c] = this.#c | C_INTERRUPT;
    this.#surroundings.irq.set(true);
  }

  /** Ticks between periodic interrupts by registers A and B, 0 if they are off. */
  #selectedPeriod(): bigint {
    const rate = this.#a & A_RATE;
    if ((this.#b & B_PERIODIC) === 0 || rate === 0) return 0n;
    // With this time base the two fastest rates are those of 8 and 9.
    return 1n << BigInt((rate <= 2 ? rate + 7 : rate) - 1);
  }

  /** The rate changed, or the interrupt was switched: ticks since the last interrupt count. */
  #changePeriod(): void {
    const now = this.#clock.now();
    const oldPeriod = this.#period;
    let elapsed = 0n;
    if (oldPeriod > 0n) {
      elapsed = nsToTicks(now) - (nsToTicks(this.#nextPeriodicTime) - oldPeriod);
    }
    this.#schedulePeriodic(now, elapsed);
  }

  /** Arms the periodic timer one period after `from` less the ticks already elapsed. */
  #schedulePeriodic(from: bigint, elapsed = 0n): void {
    this.#period = this.#selectedPeriod();
    if (this.#period === 0n) {
      this.#irqCoalesced = 0;
      this.#periodicTimer.disarm();
      return;
    }
    const counted = elapsed < 0n ? 0n : elapsed > this.#period ? this.#period : elapsed;
    this.#nextPeriodicTime = ticksToNs(nsToTicks(from) + this.#period - counted) + 1n;
    this.#periodicTimer.arm(this.#nextPeriodicTime);
  }

  #periodicTick(): void {
    const now = this.#clock.now();
    const period = ticksToNs(this.#period);
    // Ticks that were missed altogether are lost, not delivered in a burst.
    const missed = period > 0n ? (now - this.#nextPeriodicTime) / period : 0n;
    this.#schedulePeriodic(this.#nextPeriodicTime + (missed > 0n ? missed * period : 0n));
    this.#cmos[Cmos.c] = this.#c | C_PERIODIC;
    if ((this.#b & B_PERIODIC) === 0) return;
    this.#cmos[Cmos.c] = this.#c | C_INTERRUPT;
    this.#surroundings.irq.set(true);
  }
}

/** Puts the size of RAM where firmware looks for it: bytes below and above 4 GiB. */
export function setCmosMemorySize(rtc: Rtc, below4g: number, above4g: number): void {
  const KIB = 1024;
  const MIB = 1024 * KIB;
  const word = (index: number, value: number) => {
    rtc.setByte(index, value & 0xff);
    rtc.setByte(index + 1, (value >> 8) & 0xff);
  };
  /** Conventional memory in KiB. */
  word(0x15, 640);
  /** KiB above 1 MiB, twice. */
  const extended = Math.min(Math.max(below4g - MIB, 0) / KIB, 0xffff);
  word(0x17, extended);
  word(0x30, extended);
  /** Units of 64 KiB above 16 MiB. */
  word(0x34, Math.min(Math.max(below4g - 16 * MIB, 0) / (64 * KIB), 0xffff));
  /** Units of 64 KiB above 4 GiB, three bytes. */
  const high = above4g / (64 * KIB);
  word(0x5b, high & 0xffff);
  rtc.setByte(0x5d, (high >> 16) & 0xff);
}

function restore(timer: VirtualTimer, expiry: bigint | undefined): void {
  if (expiry === undefined) timer.disarm();
  else timer.arm(expiry);
}

function nsToTicks(ns: bigint): bigint {
  return ns * TICKS_PER_SECOND / SECOND;
}

function ticksToNs(ticks: bigint): bigint {
  return ticks * SECOND / TICKS_PER_SECOND;
}

/** The remainder from 0 to `divisor` - 1, for a time before 1970 as well. */
function modulo(value: bigint, divisor: bigint): bigint {
  const remainder = value % divisor;
  return remainder < 0n ? remainder + divisor : remainder;
}
