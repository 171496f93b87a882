/** Numbers of the KVM interface: include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h. */

const KVMIO = 0xae;

/** The encoding of ioctl numbers (asm-generic/ioctl.h). */
function none(number: number): bigint {
  return BigInt((KVMIO << 8) | number);
}
function read(number: number, size: number): bigint {
  return (2n << 30n) | (BigInt(size) << 16n) | none(number);
}
function write(number: number, size: number): bigint {
  return (1n << 30n) | (BigInt(size) << 16n) | none(number);
}
function readWrite(number: number, size: number): bigint {
  return (3n << 30n) | (BigInt(size) << 16n) | none(number);
}

/** ioctl request numbers by their names without `KVM_`. */
export const Ioctl = {
  getApiVersion: none(0x00),
  createVm: none(0x01),
  getMsrIndexList: readWrite(0x02, 4),
  checkExtension: none(0x03),
  getVcpuMmapSize: none(0x04),
  getSupportedCpuid: readWrite(0x05, 8),
  createVcpu: none(0x41),
  getDirtyLog: write(0x42, 16),
  setUserMemoryRegion: write(0x46, 32),
  setTssAddress: none(0x47),
  setIdentityMapAddress: write(0x48, 8),
  createIrqchip: none(0x60),
  irqLine: write(0x61, 8),
  getIrqchip: readWrite(0x62, 520),
  setIrqchip: read(0x63, 520),
  setGsiRouting: write(0x6a, 8),
  irqfd: write(0x76, 32),
  createPit2: write(0x77, 64),
  ioeventfd: write(0x79, 64),
  setClock: write(0x7b, 48),
  getClock: read(0x7c, 48),
  run: none(0x80),
  getRegs: read(0x81, 144),
  setRegs: write(0x82, 144),
  getSregs: read(0x83, 312),
  setSregs: write(0x84, 312),
  translate: readWrite(0x85, 24),
  getMsrs: readWrite(0x88, 8),
  setMsrs: write(0x89, 8),
  setSignalMask: write(0x8b, 4),
  getLapic: read(0x8e, 1024),
  setLapic: write(0x8f, 1024),
  setCpuid2: write(0x90, 8),
  getMpState: read(0x98, 4),
  setMpState: write(0x99, 4),
  nmi: none(0x9a),
  setupMce: write(0x9c, 8),
  getMceCapSupported: read(0x9d, 8),
  getPit2: read(0x9f, 112),
  setPit2: write(0xa0, 112),
  getTscKhz: none(0xa3),
  signalMsi: write(0xa5, 32),
  getXsave: read(0xa4, 4096),
  setXsave: write(0xa5, 4096),
  getXcrs: read(0xa6, 392),
  setXcrs: write(0xa7, 392),
  enableCapability: write(0xa3, 104),
  getVcpuEvents: read(0x9f, 64),
  setVcpuEvents: write(0xa0, 64),
  getDebugRegs: read(0xa1, 128),
  setDebugRegs: write(0xa2, 128),
  kvmclockControl: none(0xad),
  clearDirtyLog: readWrite(0xc0, 24),
  resetDirtyRings: none(0xc7),
  getXsave2: read(0xcf, 4096),
} as const;

/** KVM_CAP_* numbers. */
export const Capability = {
  irqchip: 0,
  userMemory: 3,
  setTssAddress: 4,
  nrVcpus: 9,
  nrMemoryRegions: 10,
  mpState: 14,
  irqfd: 32,
  pit2: 33,
  ioeventfd: 36,
  setIdentityMapAddress: 37,
  adjustClock: 39,
  vcpuEvents: 41,
  xsave: 55,
  xcrs: 56,
  tscControl: 60,
  getTscKhz: 61,
  tscDeadlineTimer: 72,
  signalMsi: 77,
  maxVcpus: 66,
  maxVcpuId: 128,
  splitIrqchip: 121,
  x2apicApi: 129,
  immediateExit: 136,
  manualDirtyLogProtect: 168,
  dirtyLogRing: 192,
  xsave2: 208,
  dirtyLogRingAcquireRelease: 223,
} as const;

/** KVM_EXIT_* reasons. */
export const Exit = {
  unknown: 0,
  exception: 1,
  io: 2,
  hypercall: 3,
  debug: 4,
  halt: 5,
  mmio: 6,
  interruptWindowOpen: 7,
  shutdown: 8,
  failEntry: 9,
  interrupted: 10,
  setTpr: 11,
  nmi: 16,
  internalError: 17,
  systemEvent: 24,
  ioapicEoi: 26,
  hyperv: 27,
  dirtyRingFull: 31,
  memoryFault: 39,
} as const;

/** KVM_MP_STATE_* of a vCPU. */
export const MpState = {
  runnable: 0,
  uninitialized: 1,
  initReceived: 2,
  halted: 3,
  sipiReceived: 4,
} as const;

/** KVM_MEM_* flags of a memory region. */
export const MemoryFlag = { logDirtyPages: 1, readOnly: 2 } as const;

/** Interrupt controllers of KVM_GET_IRQCHIP. */
export const IrqChip = { picMaster: 0, picSlave: 1, ioapic: 2 } as const;
