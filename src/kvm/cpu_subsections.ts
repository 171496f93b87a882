/**
 * Subsections of a vCPU's state, in the order of the wire. Most hold model-specific registers and are
 * left out while these have their reset value; those that depend on a CPU feature are properties that
 * the state has only with the feature.
 */
import {
  allZero,
  array,
  byteArray,
  i32,
  i64,
  nested,
  struct,
  subsection,
  u16,
  u32,
  u64,
  u8,
  words,
} from "../vmstate/vmstate.ts";
import { nestedState } from "./nested_state.ts";

/** A register of 64 bits that is left out while it holds `absent`. */
function register(name: string, key: string, absent = 0n) {
  return subsection({ name, version: 1, prefix: "env.", key, field: u64(), absent });
}

/** Whether something in a state is not zero. */
function anyNonZero(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return Boolean(value);
  return Object.values(value).some(anyNonZero);
}

/** Bits 511:256 of a vector register. */
const zmmHigh = struct({
  name: "zmmh_reg",
  version: 1,
  fields: {
    q4: u64({ name: "_q_ZMMReg[4]" }),
    q5: u64({ name: "_q_ZMMReg[5]" }),
    q6: u64({ name: "_q_ZMMReg[6]" }),
    q7: u64({ name: "_q_ZMMReg[7]" }),
  },
});

/** One of the vector registers 16 to 31. */
const highZmm = struct({
  name: "hi16_zmm_reg",
  version: 1,
  fields: {
    q0: u64({ name: "_q_ZMMReg[0]" }),
    q1: u64({ name: "_q_ZMMReg[1]" }),
    q2: u64({ name: "_q_ZMMReg[2]" }),
    q3: u64({ name: "_q_ZMMReg[3]" }),
    q4: u64({ name: "_q_ZMMReg[4]" }),
    q5: u64({ name: "_q_ZMMReg[5]" }),
    q6: u64({ name: "_q_ZMMReg[6]" }),
    q7: u64({ name: "_q_ZMMReg[7]" }),
  },
});

export const cpuSubsections = {
  /** A pending exception of a nested guest. */
  exceptionInfo: subsection({
    name: "cpu/exception_info",
    version: 1,
    prefix: "env.",
    fields: {
      exceptionPending: u8(),
      exceptionInjected: u8(),
      exceptionHasPayload: u8(),
      exceptionPayload: u64(),
    },
  }),
  errorCode: subsection({
    name: "cpu/error_code",
    version: 1,
    prefix: "env.",
    key: "errorCode",
    field: i32(),
    needed: (_code: number, cpu: { exceptionNr: number; hasErrorCode: number }) =>
      cpu.exceptionNr !== -1 && cpu.hasErrorCode !== 0,
  }),
  /** KVM MSR 0x4b564d02. */
  asyncPfEnMsr: register("cpu/async_pf_msr", "asyncPfEnMsr"),
  /** KVM MSR 0x4b564d06. */
  asyncPfIntMsr: register("cpu/async_pf_int_msr", "asyncPfIntMsr"),
  /** KVM MSR 0x4b564d04. */
  pvEoiEnMsr: register("cpu/async_pv_eoi_msr", "pvEoiEnMsr"),
  /** KVM MSR 0x4b564d03. */
  stealTimeMsr: register("cpu/steal_time_msr", "stealTimeMsr"),
  /** KVM MSR 0x4b564d05; 1 after reset. */
  pollControlMsr: register("cpu/poll_control_msr", "pollControlMsr", 1n),
  /** Last x87 opcode, instruction and data pointer. */
  fpopIpDp: subsection({
    name: "cpu/fpop_ip_dp",
    version: 1,
    prefix: "env.",
    fields: { fpop: u16(), fpip: u64(), fpdp: u64() },
    needed: anyNonZero,
  }),
  tscAdjust: register("cpu/msr_tsc_adjust", "tscAdjust"),
  tscDeadline: register("cpu/msr_tscdeadline", "tscDeadline"),
  /** 1 after reset. */
  msrIa32MiscEnable: register("cpu/msr_ia32_misc_enable", "msrIa32MiscEnable", 1n),
  msrIa32FeatureControl: register("cpu/msr_ia32_feature_control", "msrIa32FeatureControl"),
  architecturalPmu: subsection({
    name: "cpu/msr_architectural_pmu",
    version: 1,
    prefix: "env.",
    fields: {
      msrFixedCtrCtrl: u64(),
      msrGlobalCtrl: u64(),
      msrGlobalStatus: u64(),
      msrGlobalOvfCtrl: u64(),
      msrFixedCounters: array(u64(), 3),
      msrGpCounters: array(u64(), 18),
      msrGpEvtsel: array(u64(), 18),
    },
    needed: anyNonZero,
  }),
  mpx: subsection({
    name: "cpu/mpx",
    version: 1,
    prefix: "env.",
    fields: {
      bndRegs: array(
        nested(struct({ name: "bnd_regs", version: 1, fields: { lb: u64(), ub: u64() } })),
        4,
      ),
      bndcsCfgu: u64({ name: "env.bndcs_regs.cfgu" }),
      bndcsSts: u64({ name: "env.bndcs_regs.sts" }),
      msrBndcfgs: u64(),
    },
    needed: anyNonZero,
  }),
  hypervHypercall: subsection({
    name: "cpu/msr_hyperv_hypercall",
    version: 1,
    prefix: "env.",
    fields: { msrHvGuestOsId: u64(), msrHvHypercall: u64() },
    needed: anyNonZero,
  }),
  msrHvVapic: register("cpu/msr_hyperv_vapic", "msrHvVapic"),
  msrHvTsc: register("cpu/msr_hyperv_time", "msrHvTsc"),
  msrHvCrashParams: subsection({
    name: "cpu/msr_hyperv_crash",
    version: 1,
    prefix: "env.",
    key: "msrHvCrashParams",
    field: array(u64(), 5),
    needed: anyNonZero,
  }),
  msrHvRuntime: register("cpu/msr_hyperv_runtime", "msrHvRuntime"),
  hypervSynic: subsection({
    name: "cpu/msr_hyperv_synic",
    version: 1,
    prefix: "env.",
    fields: {
      msrHvSynicControl: u64(),
      msrHvSynicEvtPage: u64(),
      msrHvSynicMsgPage: u64(),
      msrHvSynicSint: array(u64(), 16),
    },
    needed: anyNonZero,
  }),
  hypervStimer: subsection({
    name: "cpu/msr_hyperv_stimer",
    version: 1,
    prefix: "env.",
    fields: { msrHvStimerConfig: array(u64(), 4), msrHvStimerCount: array(u64(), 4) },
    needed: anyNonZero,
  }),
  hypervReenlightenment: subsection({
    name: "cpu/msr_hyperv_reenlightenment",
    version: 1,
    prefix: "env.",
    fields: {
      msrHvReenlightenmentControl: u64(),
      msrHvTscEmulationControl: u64(),
      msrHvTscEmulationStatus: u64(),
    },
    needed: anyNonZero,
  }),
  avx512: subsection({
    name: "cpu/avx512",
    version: 1,
    prefix: "env.",
    fields: {
      opmaskRegs: words(array(u64(), 8)),
      zmmHighRegs: words(array(nested(zmmHigh), 16, { name: "env.xmm_regs[0]" })),
      highZmmRegs: words(array(nested(highZmm), 16, { name: "env.xmm_regs[1]" })),
    },
    needed: ({ opmaskRegs, zmmHighRegs, highZmmRegs }) =>
      ![opmaskRegs, zmmHighRegs, highZmmRegs].every(allZero),
  }),
  xss: register("cpu/xss", "xss"),
  umwait: subsection({
    name: "cpu/umwait",
    version: 1,
    prefix: "env.",
    key: "umwait",
    field: u32(),
    absent: 0,
  }),
  /** Frequency of the TSC, always known with KVM. */
  tscKhz: subsection({
    name: "cpu/tsc_khz",
    version: 1,
    prefix: "env.",
    key: "tscKhz",
    field: i64(),
  }),
  msrSmiCount: register("cpu/msr_smi_count", "msrSmiCount"),
  pkru: subsection({
    name: "cpu/pkru",
    version: 1,
    prefix: "env.",
    key: "pkru",
    field: u32(),
    absent: 0,
  }),
  pkrs: subsection({
    name: "cpu/pkrs",
    version: 1,
    prefix: "env.",
    key: "pkrs",
    field: u32(),
    absent: 0,
  }),
  specCtrl: register("cpu/spec_ctrl", "specCtrl"),
  /** With CPUID 8000_000A EDX bit 4. */
  amdTscScaleMsr: subsection({
    name: "cpu/amd_tsc_scale_msr",
    version: 1,
    prefix: "env.",
    key: "amdTscScaleMsr",
    field: u64(),
  }),
  mcgExtCtl: register("cpu/mcg_ext_ctl", "mcgExtCtl"),
  intelPt: subsection({
    name: "cpu/intel_pt",
    version: 1,
    prefix: "env.",
    fields: {
      msrRtitCtrl: u64(),
      msrRtitStatus: u64(),
      msrRtitOutputBase: u64(),
      msrRtitOutputMask: u64(),
      msrRtitCr3Match: u64(),
      msrRtitAddrs: array(u64(), 8),
    },
    needed: anyNonZero,
  }),
  virtSsbd: register("cpu/virt_ssbd", "virtSsbd"),
  /** Nested paging; the name is spelt so. */
  svmNpt: subsection({
    name: "cpu/svn_npt",
    version: 1,
    prefix: "env.",
    fields: { nestedCr3: u64(), nestedPgMode: u32() },
    needed: (_npt, cpu: { hflags2: number }) => (cpu.hflags2 & 0x40) !== 0,
  }),
  /** Not used with KVM. */
  intCtl: subsection({
    name: "cpu/svm_guest",
    version: 1,
    prefix: "env.",
    key: "intCtl",
    field: u32(),
    absent: 0,
  }),
  /** KVM_GET_NESTED_STATE of a vCPU that runs a hypervisor. */
  nestedState: subsection({
    name: "cpu/nested_state",
    version: 1,
    prefix: "env.",
    key: "nestedState",
    field: nested(nestedState),
  }),
  xen: subsection({
    name: "cpu/xen_vcpu",
    version: 1,
    prefix: "env.",
    fields: {
      xenVcpuInfoGpa: u64(),
      xenVcpuInfoDefaultGpa: u64(),
      xenVcpuTimeInfoGpa: u64(),
      xenVcpuRunstateGpa: u64(),
      xenVcpuCallbackVector: u8(),
      xenVirq: array(u16(), 24),
      xenSingleshotTimerNs: u64(),
      xenPeriodicTimerPeriod: u64(),
    },
  }),
  /** With IA32_ARCH_CAPABILITIES bit 7. */
  tsxCtrl: subsection({
    name: "cpu/msr_tsx_ctrl",
    version: 1,
    prefix: "env.",
    key: "tsxCtrl",
    field: u32(),
  }),
  /** With CPUID 7.0 ECX bit 30. */
  msrIa32Sgxlepubkeyhash: subsection({
    name: "cpu/intel_sgx",
    version: 1,
    prefix: "env.",
    key: "msrIa32Sgxlepubkeyhash",
    field: array(u64(), 4),
  }),
  /** With PAE paging. */
  pdptrs: subsection({
    name: "cpu/pdptrs",
    version: 1,
    prefix: "env.",
    key: "pdptrs",
    field: array(u64(), 4),
  }),
  /** With CPUID 0xd.1 EAX bit 4. */
  xfd: subsection({
    name: "cpu/msr_xfd",
    version: 1,
    prefix: "env.",
    fields: { msrXfd: u64(), msrXfdErr: u64() },
  }),
  msrHwcr: register("cpu/msr_hwcr", "msrHwcr"),
  /** With CPUID 7.1 EAX bit 17. */
  fred: subsection({
    name: "cpu/fred",
    version: 1,
    prefix: "env.",
    fields: {
      fredRsp0: u64(),
      fredRsp1: u64(),
      fredRsp2: u64(),
      fredRsp3: u64(),
      fredStklvls: u64(),
      fredSsp1: u64(),
      fredSsp2: u64(),
      fredSsp3: u64(),
      fredConfig: u64(),
    },
  }),
  /** With CPUID 7.0 EDX bit 24. */
  amx: subsection({
    name: "cpu/intel_amx_xtile",
    version: 1,
    prefix: "env.",
    fields: {
      xtilecfg: byteArray(64),
      xtiledata: byteArray(8192),
    },
  }),
  /** With CPUID 7.0 EDX bit 19. */
  archLbr: subsection({
    name: "cpu/arch_lbr",
    version: 1,
    prefix: "env.",
    fields: {
      msrLbrCtl: u64(),
      msrLbrDepth: u64(),
      lbrRecords: array(
        nested(struct({
          name: "lbr_records_var",
          version: 1,
          fields: { from: u64(), to: u64(), info: u64() },
        })),
        32,
        { since: 1 },
      ),
    },
  }),
  tripleFaultPending: subsection({
    name: "cpu/triple_fault",
    version: 1,
    prefix: "env.",
    key: "tripleFaultPending",
    field: u8(),
    absent: 0,
  }),
  pl0Ssp: register("cpu/msr_pl0_ssp", "pl0Ssp"),
  /** With CPUID 7.0 ECX bit 7 or EDX bit 20. */
  cet: subsection({
    name: "cpu/cet",
    version: 1,
    prefix: "env.",
    fields: { uCet: u64(), sCet: u64() },
    subsections: {
      /** With CPUID 7.0 ECX bit 7. */
      shadowStack: subsection({
        name: "cpu/cet_shstk",
        version: 1,
        prefix: "env.",
        fields: {
          pl1Ssp: u64(),
          pl2Ssp: u64(),
          pl3Ssp: u64(),
          intSspTable: u64(),
          guestSsp: u64(),
        },
      }),
    },
  }),
  /** R16 to R31, with CPUID 7.1 EDX bit 21. */
  apxRegs: subsection({
    name: "cpu/apx",
    version: 1,
    prefix: "env.",
    field: array(u64(), 16, { name: "env.regs" }),
  }),
};
