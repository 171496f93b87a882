/**
 * The boot CPU's registers for every way to start it, in the terms of KVM_SET_REGS and
 * KVM_SET_SREGS. Sources: Xen's docs/misc/pvh (32-bit entry), Linux' Documentation/arch/x86/boot.rst
 * (64-bit entry), Intel SDM volume 3 (segment types, control registers).
 */

import type { InitialCpu } from "./boot.ts";

/** One segment register with its hidden part, fields as in struct kvm_segment. */
export interface SegmentRegister {
  readonly selector: number;
  readonly base: number;
  /** In bytes, whatever the granularity. */
  readonly limit: number;
  readonly type: number;
  readonly present: boolean;
  readonly dpl: number;
  /** Default operation size: 32-bit. */
  readonly db: boolean;
  /** Code or data segment, not a system segment. */
  readonly s: boolean;
  /** 64-bit code. */
  readonly l: boolean;
  /** Limit counted in pages. */
  readonly g: boolean;
}

/** What differs from the processor's reset state. */
export interface InitialRegisters {
  readonly rip: number;
  readonly rsp: number;
  readonly rbx: number;
  readonly rdx: number;
  readonly rsi: number;
  readonly cs: SegmentRegister;
  /** For ds, es, fs, gs and ss. */
  readonly data: SegmentRegister;
  /** Task register; undefined leaves reset's. */
  readonly tr?: SegmentRegister;
  readonly gdt?: { readonly base: number; readonly limit: number };
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
}

const cr0ProtectedMode = 0x1;
const cr0ExtensionType = 0x10;
const cr0Paging = 0x80000000;
const cr4PhysicalAddressExtension = 0x20;
const eferLongMode = 0x500; // LME and LMA

/** Segment types, accessed bit set: what VMX demands of a loaded segment. */
const codeType = 0xb;
const dataType = 0x3;
const busyTaskType = 0xb;

/** Selectors of Linux' __BOOT_CS and __BOOT_DS, which its boot protocols ask for. */
export const bootCodeSelector = 0x10;
export const bootDataSelector = 0x18;

/** `undefined` for the reset vector: the processor's reset state is right as it is. */
export function initialRegisters(cpu: InitialCpu): InitialRegisters | undefined {
  const none = { rsp: 0, rbx: 0, rdx: 0, rsi: 0, cr3: 0, cr4: 0, efer: 0 };
  switch (cpu.mode) {
    case "reset vector":
      return undefined;
    case "real": {
      const segment = realSegment(cpu.segment);
      return {
        ...none,
        rip: cpu.offset,
        rsp: cpu.stackPointer,
        rdx: cpu.dl,
        cs: { ...segment, type: codeType },
        data: segment,
        cr0: cr0ExtensionType,
      };
    }
    case "protected":
      return {
        ...none,
        rip: cpu.entry,
        rbx: cpu.ebx,
        cs: flatSegment(8, codeType, "32-bit"),
        data: flatSegment(16, dataType, "32-bit"),
        tr: taskSegment,
        cr0: cr0ProtectedMode | cr0ExtensionType,
      };
    case "long":
      return {
        ...none,
        rip: cpu.entry,
        rsp: cpu.stackPointer,
        rsi: cpu.rsi,
        cs: flatSegment(bootCodeSelector, codeType, "64-bit"),
        data: flatSegment(bootDataSelector, dataType, "32-bit"),
        tr: taskSegment,
        gdt: cpu.gdt,
        cr0: (cr0Paging | cr0ExtensionType | cr0ProtectedMode) >>> 0,
        cr3: cpu.cr3,
        cr4: cr4PhysicalAddressExtension,
        efer: eferLongMode,
      };
  }
}

function realSegment(selector: number): SegmentRegister {
  return {
    selector,
    base: selector * 16,
    limit: 0xffff,
    type: dataType,
    present: true,
    dpl: 0,
    db: false,
    s: true,
    l: false,
    g: false,
  };
}

function flatSegment(selector: number, type: number, size: "32-bit" | "64-bit"): SegmentRegister {
  return {
    selector,
    base: 0,
    limit: 0xffffffff,
    type,
    present: true,
    dpl: 0,
    db: size === "32-bit",
    s: true,
    l: size === "64-bit",
    g: true,
  };
}

const taskSegment: SegmentRegister = {
  selector: 0,
  base: 0,
  limit: 0x67,
  type: busyTaskType,
  present: true,
  dpl: 0,
  db: false,
  s: false,
  l: false,
  g: false,
};
