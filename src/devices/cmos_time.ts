/**
 * The calendar registers of an MC146818: their encoding, apart from how the clock runs. Data sheet:
 * Motorola MC146818A, "Time, calendar and alarm locations".
 */
import { Cmos, RegisterB } from "./rtc_registers.ts";

const PM = 0x80;
/** An alarm byte with both bits set matches everything. No valid time has them. */
const WILDCARD = 0xc0;
/** What such a byte counts for elsewhere. */
const WILDCARD_VALUE = -1;

const SECONDS_PER_MINUTE = 60;
const SECONDS_PER_HOUR = 3600;
const SECONDS_PER_DAY = 86400;

/** The registers that show the time. */
const calendar: ReadonlySet<number> = new Set([
  Cmos.seconds,
  Cmos.minutes,
  Cmos.hours,
  Cmos.dayOfWeek,
  Cmos.dayOfMonth,
  Cmos.month,
  Cmos.year,
  Cmos.century,
]);

/** Whether a register is one of those that show the time. */
export function isCalendar(index: number): boolean {
  return calendar.has(index);
}

/** The time in the registers, in seconds since 1970 (UTC). Values out of range carry over. */
export function readCalendar(cmos: Uint8Array): number {
  const date = new Date(0);
  const number = (index: number) => decode(cmos, cmos[index] ?? 0);
  date.setUTCFullYear(
    number(Cmos.century) * 100 + number(Cmos.year),
    number(Cmos.month) - 1,
    number(Cmos.dayOfMonth),
  );
  date.setUTCHours(
    decodeHours(cmos, cmos[Cmos.hours] ?? 0),
    number(Cmos.minutes),
    number(Cmos.seconds),
  );
  return date.getTime() / 1000;
}

/** Puts a time in seconds since 1970 (UTC) into the registers. */
export function writeCalendar(cmos: Uint8Array, seconds: number): void {
  const date = new Date(seconds * 1000);
  cmos[Cmos.seconds] = encode(cmos, date.getUTCSeconds());
  cmos[Cmos.minutes] = encode(cmos, date.getUTCMinutes());
  cmos[Cmos.hours] = encodeHours(cmos, date.getUTCHours());
  cmos[Cmos.dayOfWeek] = encode(cmos, date.getUTCDay() + 1);
  cmos[Cmos.dayOfMonth] = encode(cmos, date.getUTCDate());
  cmos[Cmos.month] = encode(cmos, date.getUTCMonth() + 1);
  const year = date.getUTCFullYear();
  cmos[Cmos.year] = encode(cmos, year % 100);
  cmos[Cmos.century] = encode(cmos, Math.trunc(year / 100));
}

/**
 * Seconds from the time in the registers to the next one that the alarm registers match, 1 to 86400;
 * `undefined` if they never do.
 */
export function secondsToAlarm(cmos: Uint8Array): number | undefined {
  const alarm = (index: number, convert: (cmos: Uint8Array, value: number) => number) => {
    const value = cmos[index] ?? 0;
    return (value & WILDCARD) === WILDCARD ? undefined : convert(cmos, value);
  };
  const hour = alarm(Cmos.hoursAlarm, decodeHours);
  const minute = alarm(Cmos.minutesAlarm, decode);
  const second = alarm(Cmos.secondsAlarm, decode);
  if (second !== undefined && second >= SECONDS_PER_MINUTE) return undefined;
  const matches = (wanted: number | undefined, value: number) =>
    wanted === undefined || wanted === value;

  const now = decodeHours(cmos, cmos[Cmos.hours] ?? 0) * SECONDS_PER_HOUR +
    decode(cmos, cmos[Cmos.minutes] ?? 0) * SECONDS_PER_MINUTE +
    decode(cmos, cmos[Cmos.seconds] ?? 0);
  const last = now + SECONDS_PER_DAY;
  let time = now + 1;
  while (time <= last) {
    const inDay = time % SECONDS_PER_DAY;
    if (!matches(hour, Math.trunc(inDay / SECONDS_PER_HOUR))) {
      time += SECONDS_PER_HOUR - inDay % SECONDS_PER_HOUR;
    } else if (!matches(minute, Math.trunc(inDay / SECONDS_PER_MINUTE) % 60)) {
      time += SECONDS_PER_MINUTE - inDay % SECONDS_PER_MINUTE;
    } else if (!matches(second, inDay % SECONDS_PER_MINUTE)) {
      time++;
    } else {
      return time - now;
    }
  }
  return undefined;
}

function isBinary(cmos: Uint8Array): boolean {
  return ((cmos[Cmos.b] ?? 0) & RegisterB.binary) !== 0;
}

function is24Hours(cmos: Uint8Array): boolean {
  return ((cmos[Cmos.b] ?? 0) & RegisterB.hours24) !== 0;
}

function decode(cmos: Uint8Array, value: number): number {
  if ((value & WILDCARD) === WILDCARD) return WILDCARD_VALUE;
  return isBinary(cmos) ? value : (value >> 4) * 10 + (value & 0x0f);
}

function encode(cmos: Uint8Array, value: number): number {
  return isBinary(cmos) ? value : (Math.trunc(value / 10) << 4) | (value % 10);
}

function decodeHours(cmos: Uint8Array, value: number): number {
  const hours = decode(cmos, value & ~PM);
  if (is24Hours(cmos)) return hours;
  return hours % 12 + ((value & PM) !== 0 ? 12 : 0);
}

function encodeHours(cmos: Uint8Array, hours: number): number {
  if (is24Hours(cmos)) return encode(cmos, hours);
  const twelve = hours % 12 === 0 ? 12 : hours % 12;
  return encode(cmos, twelve) | (hours >= 12 ? PM : 0);
}
