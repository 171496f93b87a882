/** What firmware finds of RAM in the CMOS bytes, at the places of a PC. */
import type { Rtc } from "./rtc.ts";

/** Puts the size of RAM there: bytes below and above 4 GiB. */
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
