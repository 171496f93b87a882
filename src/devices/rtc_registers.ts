/**
 * The registers of an MC146818 real-time clock: ports, indexes, and bits. Those of the MC146818A data
 * sheet.
 */

/** Index and data port, and the interrupt. */
export const RTC_PORT = 0x70;
export const RTC_PORT_LENGTH = 2;
export const RTC_IRQ = 8;

/** Register indexes. */
export const Cmos = {
  seconds: 0x00,
  secondsAlarm: 0x01,
  minutes: 0x02,
  minutesAlarm: 0x03,
  hours: 0x04,
  hoursAlarm: 0x05,
  /** 1 is Sunday. */
  dayOfWeek: 0x06,
  dayOfMonth: 0x07,
  month: 0x08,
  year: 0x09,
  a: 0x0a,
  b: 0x0b,
  c: 0x0c,
  d: 0x0d,
  /** Year divided by 100, in the same encoding as the year. */
  century: 0x32,
  /** Another name of the century, which PS/2 used. */
  ps2Century: 0x37,
} as const;

export const RegisterA = {
  updateInProgress: 0x80,
  divider: 0x70,
  dividerReset: 0x60,
  /** The highest divider value with which the clock counts. */
  dividerCounting: 0x20,
  rate: 0x0f,
} as const;

export const RegisterB = {
  set: 0x80,
  periodic: 0x40,
  alarm: 0x20,
  update: 0x10,
  squareWave: 0x08,
  /** Binary instead of BCD. */
  binary: 0x04,
  /** Hours 0 to 23 instead of 1 to 12 and PM. */
  hours24: 0x02,
} as const;

export const RegisterC = {
  interrupt: 0x80,
  periodic: 0x40,
  alarm: 0x20,
  update: 0x10,
  /** Those that raise an interrupt. */
  sources: 0x70,
} as const;

export const RegisterD = {
  /** RAM and time are valid. */
  valid: 0x80,
} as const;
