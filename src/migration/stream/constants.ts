/** Constants of QEMU's migration stream (version 3). All integers on the wire are big-endian. */

/** First u32 of a stream: `QEVM`. */
export const fileMagic = 0x5145564d;
/** Instead of it where the stream is void: `Void`. No program but molt writes or knows it. */
export const voidFileMagic = 0x566f6964;
/** Second u32 of a stream. */
export const fileVersion = 3;
/** The file version before subsections, which nobody reads any more. */
export const obsoleteFileVersion = 2;

/** First byte of each item. */
export const SectionType = {
  eof: 0x00,
  start: 0x01,
  part: 0x02,
  end: 0x03,
  full: 0x04,
  subsection: 0x05,
  description: 0x06,
  configuration: 0x07,
  command: 0x08,
  footer: 0x7e,
} as const;

/** The u16 that says what a command is. */
export const CommandCode = {
  openReturnPath: 1,
  ping: 2,
  postcopyAdvise: 3,
  postcopyListen: 4,
  postcopyRun: 5,
  postcopyRamDiscard: 6,
  packaged: 7,
  enableColo: 8,
  postcopyResume: 9,
  recvBitmap: 10,
  switchoverStart: 11,
  // molt's own, behind the end of the stream (return_path.ts): nobody else reads there.
  commit: 0x6d01,
  abort: 0x6d02,
} as const;

/** Low bits of the u64 that each record of the `ram` section begins with. */
export const RamFlag = {
  zero: 0x002,
  memSize: 0x004,
  page: 0x008,
  eos: 0x010,
  /** Same block as in the record before: no name follows. */
  continue: 0x020,
  xbzrle: 0x040,
  hook: 0x080,
  multifdFlush: 0x200,
} as const;

/** idstr of the section with the guest's memory. */
export const ramSectionName = "ram";
/** Version of the `ram` section. */
export const ramSectionVersion = 4;

/** Bytes in a page of the guest, on the wire. */
export const pageSize = 4096;

/** Largest description read, in bytes. */
export const descriptionMaximum = 16 * 1024 * 1024;
/** Most blocks of memory read. */
export const blockMaximum = 4096;
