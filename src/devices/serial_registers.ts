/**
 * The registers of a 16550A UART: where they are, their bits, and the time that a character takes by
 * them. Names are those of the PC16550D data sheet (National Semiconductor).
 */

/** Offsets. */
export const Port = {
  /** RBR, THR, or with the divisor latch its low byte. */
  data: 0,
  /** IER, or with the divisor latch its high byte. */
  interruptEnable: 1,
  /** IIR when read, */
  interruptIdentification: 2,
  /** FCR when written. */
  fifoControl: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
} as const;

export const Ier = {
  receivedData: 0x01,
  transmitterEmpty: 0x02,
  lineStatus: 0x04,
  modemStatus: 0x08,
} as const;

/** Bits 0-3: the pending interrupt of the highest priority, and bits 6-7: FIFOs are on. */
export const Iir = {
  modemStatus: 0x00,
  none: 0x01,
  transmitterEmpty: 0x02,
  receivedData: 0x04,
  lineStatus: 0x06,
  characterTimeout: 0x0c,
  pending: 0x0f,
  source: 0x06,
  fifosOn: 0xc0,
} as const;

export const Fcr = {
  enable: 0x01,
  clearReceive: 0x02,
  clearTransmit: 0x04,
  /** Bits that stay. */
  stored: 0xc9,
} as const;

export const Lcr = {
  dataBits: 0x03,
  stopBits: 0x04,
  parity: 0x08,
  divisorLatch: 0x80,
} as const;

export const Mcr = {
  dtr: 0x01,
  rts: 0x02,
  out1: 0x04,
  out2: 0x08,
  loopback: 0x10,
  /** Bits that stay. */
  stored: 0x1f,
} as const;

export const Lsr = {
  dataReady: 0x01,
  overrun: 0x02,
  break: 0x10,
  thrEmpty: 0x20,
  transmitterEmpty: 0x40,
  /** Bits that raise the line status interrupt. */
  interrupting: 0x1e,
} as const;

export const Msr = {
  deltas: 0x0f,
  cts: 0x10,
  dsr: 0x20,
  ri: 0x40,
  dcd: 0x80,
} as const;

/** Receive trigger level by FCR bits 6-7. */
export const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
export const FIFO_SIZE = 16;

/** Bits a second with divisor 1. */
export const BAUD_BASE = 115200;
const NANOSECONDS_PER_SECOND = 1e9;

/** The divisor after a reset, */
export const RESET_DIVIDER = 12;
/** and the ns of a character of 10 bits with it. */
export const RESET_CHARACTER_TIME = BigInt(Math.trunc(NANOSECONDS_PER_SECOND / 9600)) * 10n;

/** The ns that a character takes, with start, parity and stop bits. */
export function characterTime(divider: number, lcr: number): bigint {
  const dataBits = (lcr & Lcr.dataBits) + 5;
  const stopBits = (lcr & Lcr.stopBits) !== 0 ? 2 : 1;
  const parityBits = (lcr & Lcr.parity) !== 0 ? 1 : 0;
  const frame = 1 + dataBits + parityBits + stopBits;
  return BigInt(Math.trunc(NANOSECONDS_PER_SECOND * divider / BAUD_BASE * frame));
}
