/** Segment registers and vCPU events: between KVM's structures and the state that is saved. */
import type { CpuState, SegmentState } from "./cpu_state.ts";

/** Bits of a segment's saved flags: the descriptor's second word. */
const Flag = {
  s: 12,
  dpl: 13,
  present: 15,
  available: 20,
  long: 21,
  big: 22,
  granular: 23,
} as const;
const TYPE_SHIFT = 8;

/** struct kvm_segment is 24 bytes. */
export const SEGMENT_SIZE = 24;

/** Reads a struct kvm_segment. An unusable segment is saved as not present. */
export function getSegment(view: DataView, at: number): SegmentState {
  const unusable = view.getUint8(at + 22) !== 0;
  const bit = (offset: number, shift: number) => view.getUint8(at + offset) << shift;
  return {
    selector: view.getUint16(at + 12, true),
    base: view.getBigUint64(at, true),
    limit: view.getUint32(at + 8, true),
    flags: (bit(14, TYPE_SHIFT) | (unusable ? 0 : bit(15, Flag.present)) | bit(16, Flag.dpl) |
      bit(17, Flag.big) | bit(18, Flag.s) | bit(19, Flag.long) | bit(20, Flag.granular) |
      bit(21, Flag.available)) >>> 0,
  };
}

/** Writes a struct kvm_segment. */
export function setSegment(view: DataView, at: number, segment: SegmentState): void {
  const bit = (shift: number) => (segment.flags >>> shift) & 1;
  view.setBigUint64(at, segment.base, true);
  view.setUint32(at + 8, segment.limit, true);
  view.setUint16(at + 12, segment.selector, true);
  view.setUint8(at + 14, (segment.flags >>> TYPE_SHIFT) & 0xf);
  view.setUint8(at + 15, bit(Flag.present));
  view.setUint8(at + 16, (segment.flags >>> Flag.dpl) & 3);
  view.setUint8(at + 17, bit(Flag.big));
  view.setUint8(at + 18, bit(Flag.s));
  view.setUint8(at + 19, bit(Flag.long));
  view.setUint8(at + 20, bit(Flag.granular));
  view.setUint8(at + 21, bit(Flag.available));
  view.setUint8(at + 22, 1 - bit(Flag.present));
}

/** hflags: what QEMU derives from other registers and saves beside them. */
const HFlag = {
  interruptShadow: 3,
  code32: 4,
  stack32: 5,
  addSegment: 6,
  protectedMode: 7,
  mp: 9,
  longMode: 14,
  code64: 15,
  smm: 19,
  osFxsr: 22,
} as const;

/** The derived flags of a vCPU's registers. */
export function derivedFlags(
  cpu: Pick<CpuState, "segs" | "cr0" | "cr4" | "eflags" | "efer">,
  interruptShadow: boolean,
  smm: boolean,
): number {
  const TF_VM_IOPL = 0x100 | 0x20000 | 0x3000;
  const VM = 0x20000;
  const [es, cs, ss, ds] = cpu.segs as [SegmentState, SegmentState, SegmentState, SegmentState];
  const cr0 = Number(cpu.cr0 & 0xffffffffn);
  const eflags = Number(cpu.eflags & 0xffffffffn);
  const longMode = (cpu.efer & 0x400n) !== 0n;
  const bit = (value: number, shift: number) => (value >>> shift) & 1;
  let flags = (ss.flags >>> Flag.dpl) & 3;
  flags |= bit(cr0, 0) << HFlag.protectedMode;
  flags |= ((cr0 >>> 1) & 7) << HFlag.mp; // MP, EM, TS
  flags |= eflags & TF_VM_IOPL;
  flags |= Number((cpu.cr4 >> 9n) & 1n) << HFlag.osFxsr;
  flags |= (interruptShadow ? 1 : 0) << HFlag.interruptShadow;
  flags |= (smm ? 1 : 0) << HFlag.smm;
  if (longMode) flags |= 1 << HFlag.longMode;
  if (longMode && bit(cs.flags, Flag.long) === 1) {
    return flags | (1 << HFlag.code32) | (1 << HFlag.stack32) | (1 << HFlag.code64);
  }
  const code32 = bit(cs.flags, Flag.big);
  flags |= code32 << HFlag.code32;
  flags |= bit(ss.flags, Flag.big) << HFlag.stack32;
  const based = ds.base !== 0n || es.base !== 0n || ss.base !== 0n;
  if (bit(cr0, 0) === 0 || (eflags & VM) !== 0 || code32 === 0 || based) {
    flags |= 1 << HFlag.addSegment;
  }
  return flags;
}

/** What struct kvm_vcpu_events says of a vCPU, in the names of its saved state. */
export type EventState = Pick<
  CpuState,
  | "exceptionNr"
  | "hasErrorCode"
  | "interruptInjected"
  | "softInterrupt"
  | "nmiInjected"
  | "nmiPending"
  | "sipiVector"
  | "errorCode"
  | "tripleFaultPending"
>;

/** KVM_VCPUEVENT_VALID_* flags. */
const Valid = { nmiPending: 1, sipiVector: 2, shadow: 4, smm: 8, tripleFault: 0x20 } as const;
const HF2_NMI_MASKED = 1 << 2;

/** Reads struct kvm_vcpu_events. */
export function getEvents(view: DataView): EventState & {
  readonly interruptShadow: boolean;
  readonly nmiMasked: boolean;
  readonly smm: boolean;
} {
  const flags = view.getUint32(20, true);
  const exception = view.getUint8(0) !== 0 || view.getUint8(3) !== 0;
  return {
    exceptionNr: exception ? view.getUint8(1) : -1,
    hasErrorCode: view.getUint8(2),
    errorCode: view.getUint32(4, true) | 0,
    interruptInjected: view.getUint8(8) !== 0 ? view.getUint8(9) : -1,
    softInterrupt: view.getUint8(10),
    interruptShadow: view.getUint8(11) !== 0,
    nmiInjected: view.getUint8(12),
    nmiPending: view.getUint8(13),
    nmiMasked: view.getUint8(14) !== 0,
    sipiVector: view.getUint32(16, true),
    smm: (flags & Valid.smm) !== 0 && view.getUint8(24) !== 0,
    tripleFaultPending: (flags & Valid.tripleFault) !== 0 ? view.getUint8(28) : 0,
  };
}

/** Fills a struct kvm_vcpu_events. `smm` says whether KVM has system management mode. */
export function setEvents(view: DataView, cpu: CpuState): void {
  view.setUint8(0, cpu.exceptionNr >= 0 ? 1 : 0);
  view.setUint8(1, cpu.exceptionNr >= 0 ? cpu.exceptionNr : 0);
  view.setUint8(2, cpu.hasErrorCode);
  view.setInt32(4, cpu.errorCode ?? 0, true);
  view.setUint8(8, cpu.interruptInjected >= 0 ? 1 : 0);
  view.setUint8(9, cpu.interruptInjected >= 0 ? cpu.interruptInjected : 0);
  view.setUint8(10, cpu.softInterrupt);
  view.setUint8(11, (cpu.hflags >>> HFlag.interruptShadow) & 1);
  view.setUint8(12, cpu.nmiInjected);
  view.setUint8(13, cpu.nmiPending);
  view.setUint8(14, (cpu.hflags2 & HF2_NMI_MASKED) !== 0 ? 1 : 0);
  view.setUint32(16, cpu.sipiVector, true);
  let flags = Valid.nmiPending | Valid.shadow;
  if (cpu.mpState === 4) flags |= Valid.sipiVector;
  view.setUint32(20, flags, true);
}

/** The hflags2 of a vCPU: GIF and VGIF are set outside of nested virtualisation. */
export function secondFlags(nmiMasked: boolean): number {
  const GIF = 1;
  const VGIF = 1 << 8;
  return GIF | VGIF | (nmiMasked ? HF2_NMI_MASKED : 0);
}
