/**
 * The registers of virtio-mmio (Virtual I/O Device specification 1.2, chapters 4.2.2 and 4.2.4): where
 * they are, and what the constant ones say.
 */

/** Bytes of a transport's registers. */
export const VIRTIO_MMIO_LENGTH = 0x200;

/** Offsets of registers; those below 0x100 are 32 bits wide. */
export const Register = {
  magicValue: 0x000,
  version: 0x004,
  deviceId: 0x008,
  vendorId: 0x00c,
  deviceFeatures: 0x010,
  deviceFeaturesSel: 0x014,
  driverFeatures: 0x020,
  driverFeaturesSel: 0x024,
  guestPageSize: 0x028,
  queueSel: 0x030,
  queueNumMax: 0x034,
  queueNum: 0x038,
  queueAlign: 0x03c,
  queuePfn: 0x040,
  queueReady: 0x044,
  queueNotify: 0x050,
  interruptStatus: 0x060,
  interruptAck: 0x064,
  status: 0x070,
  queueDescLow: 0x080,
  queueDescHigh: 0x084,
  queueDriverLow: 0x090,
  queueDriverHigh: 0x094,
  queueDeviceLow: 0x0a0,
  queueDeviceHigh: 0x0a4,
  shmLenLow: 0x0b0,
  shmLenHigh: 0x0b4,
  configGeneration: 0x0fc,
  config: 0x100,
} as const;

/** "virt" */
export const MAGIC = 0x74726976;
/** "QEMU" */
export const VENDOR = 0x554d4551;
/** What Version says. */
export const Version = { legacy: 1, modern: 2 } as const;
