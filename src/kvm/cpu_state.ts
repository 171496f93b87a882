/** Saved state of a vCPU: sections `cpu_common` and `cpu`; the instance is the vCPU's index. */
import {
  array,
  bool,
  i32,
  nested,
  type StateOf,
  struct,
  subsection,
  temporary,
  u16,
  u32,
  u64,
  u8,
  VmStateError,
  words,
} from "../vmstate/vmstate.ts";
import { cpuSubsections } from "./cpu_subsections.ts";

export const cpuCommonState = struct({
  name: "cpu_common",
  version: 1,
  fields: {
    /** 1 while the vCPU waits in HLT. */
    halted: u32(),
    /** Requests pending in user space; 0 in an idle guest with KVM. */
    interruptRequest: u32(),
  },
  subsections: {
    /** Not used with KVM. */
    exceptionIndex: subsection({
      name: "cpu_common/exception_index",
      version: 1,
      key: "exceptionIndex",
      field: i32(),
      absent: -1,
    }),
    crashOccurred: subsection({
      name: "cpu_common/crash_occurred",
      version: 1,
      key: "crashOccurred",
      field: bool(),
      absent: false,
    }),
  },
});

export type CpuCommonState = StateOf<typeof cpuCommonState>;

/** One x87 register: 64 bits of mantissa (or an MMX value), 16 of sign and exponent. */
const fpreg = struct({
  name: "fpreg",
  version: 0,
  field: temporary(struct({
    name: "fpreg_tmp",
    version: 0,
    fields: { mantissa: u64({ name: "tmp_mant" }), exponent: u16({ name: "tmp_exp" }) },
  })),
});

const segment = struct({
  name: "segment",
  version: 1,
  fields: {
    selector: u32(),
    base: u64(),
    /** In bytes. */
    limit: u32(),
    /** As in the descriptor's second word: bits 8-11 type, 12 S, 13-14 DPL, 15 P, 20 AVL, 21 L, 22 D/B, 23 G. */
    flags: u32(),
  },
});

/** State of a segment register, of GDTR or IDTR (base and limit only), of LDTR or TR. */
export type SegmentState = StateOf<typeof segment>;

/** Bits 127:0 of a vector register. */
const xmm = struct({
  name: "xmm_reg",
  version: 1,
  fields: { low: u64({ name: "_q_ZMMReg[0]" }), high: u64({ name: "_q_ZMMReg[1]" }) },
});

/** Bits 255:128 of a vector register. */
const ymmHigh = struct({
  name: "ymmh_reg",
  version: 1,
  fields: { low: u64({ name: "_q_ZMMReg[2]" }), high: u64({ name: "_q_ZMMReg[3]" }) },
});

/** A variable-range MTRR. */
const mtrrVar = struct({ name: "mtrr_var", version: 1, fields: { base: u64(), mask: u64() } });

export const cpuState = struct({
  name: "cpu",
  version: 12,
  minimumVersion: 11,
  prefix: "env.",
  fields: {
    /** RAX RCX RDX RBX RSP RBP RSI RDI R8 to R15. */
    regs: array(u64(), 16),
    eip: u64(),
    eflags: u64(),
    /** Derived flags: bits 0-1 CPL, 3 interrupt shadow, 4 CS32, 5 SS32, 6 ADDSEG, 7 PE, 14 LMA, 15 CS64, ... */
    hflags: u32(),
    /** x87 control word. */
    fpuc: u16(),
    /** x87 status word with TOP. */
    fpus: u16({ name: "env.fpus_vmstate" }),
    /** Abridged tag byte as FXSAVE has it: bit i is set when register i is not empty. */
    fptag: u16({ name: "env.fptag_vmstate" }),
    /** 0. */
    fpregsFormat: u16({ name: "env.fpregs_format_vmstate" }),
    fpregs: array(nested(fpreg), 8),
    /** ES CS SS DS FS GS. */
    segs: array(nested(segment), 6),
    ldt: nested(segment),
    tr: nested(segment),
    gdt: nested(segment),
    idt: nested(segment),
    sysenterCs: u32(),
    sysenterEsp: u64(),
    sysenterEip: u64(),
    cr0: u64({ name: "env.cr[0]" }),
    cr2: u64({ name: "env.cr[2]" }),
    cr3: u64({ name: "env.cr[3]" }),
    cr4: u64({ name: "env.cr[4]" }),
    /** DR0 to DR7; 4 and 5 repeat 6 and 7. */
    dr: array(u64(), 8),
    /** -1 with A20 open. */
    a20Mask: i32(),
    mxcsr: u32(),
    /** Bits 127:0 of the 16 vector registers. */
    xmmRegs: words(array(nested(xmm), 16, { name: "env.xmm_regs[0]" })),
    efer: u64(),
    star: u64(),
    lstar: u64(),
    cstar: u64(),
    fmask: u64(),
    kernelgsbase: u64(),
    smbase: u32(),
    pat: u64(),
    /** Bits: 0 GIF, 1 HIF, 2 NMI blocked, 3 V_INTR_MASKING, 4 SMI inside NMI, 6 nested paging, 7 IGNNE, 8 VGIF. */
    hflags2: u32(),
    vmHsave: u64(),
    vmVmcb: u64(),
    tscOffset: u64(),
    intercept: u64(),
    interceptCrRead: u16(),
    interceptCrWrite: u16(),
    interceptDrRead: u16(),
    interceptDrWrite: u16(),
    interceptExceptions: u32(),
    vTpr: u8(),
    /** 64K_00000, 16K_80000, 16K_A0000, then eight of 4K from C0000 on. */
    mtrrFixed: words(array(u64(), 11)),
    mtrrDeftype: u64(),
    mtrrVar: words(array(nested(mtrrVar), 8, { since: 8 })),
    /** Vector of an interrupt accepted for injection, -1 if none. */
    interruptInjected: i32(),
    /** KVM_MP_STATE_*. */
    mpState: u32(),
    tsc: u64(),
    /** Vector of an exception pending or injected, -1 if none. */
    exceptionNr: i32(),
    softInterrupt: u8(),
    nmiInjected: u8(),
    nmiPending: u8(),
    hasErrorCode: u8(),
    sipiVector: u32(),
    mcgCap: u64(),
    mcgStatus: u64(),
    mcgCtl: u64(),
    /** CTL, STATUS, ADDR and MISC of each of 10 banks. */
    mceBanks: words(array(u64(), 40)),
    tscAux: u64(),
    /** KVM MSR 0x4b564d01. */
    systemTimeMsr: u64(),
    /** KVM MSR 0x4b564d00. */
    wallClockMsr: u64(),
    xcr0: u64({ since: 12 }),
    /** XSTATE_BV of the XSAVE image. */
    xstateBv: u64({ since: 12 }),
    /** Bits 255:128 of the 16 vector registers. */
    ymmHighRegs: words(array(nested(ymmHigh), 16, { name: "env.xmm_regs[1]", since: 12 })),
  },
  subsections: cpuSubsections,
  postLoad(state) {
    if (state.fpregsFormat !== 0) {
      throw new VmStateError(`x87 registers have format ${state.fpregsFormat}, only 0 is known`);
    }
  },
});

export type CpuState = StateOf<typeof cpuState>;
