/**
 * The names of `-cpu`'s features and their bits in the CPUID. Bits: Intel SDM volume 2 (CPUID), AMD
 * APM volume 3 appendix E, Linux Documentation/virt/kvm/x86/cpuid.rst; names: QEMU's.
 */

/** A register of a CPUID leaf. */
export type CpuidRegister = "eax" | "ebx" | "ecx" | "edx";

/** One feature's bit. */
export interface CpuidFeature {
  readonly function: number;
  /** ECX of the query, for leaves that have several parts. */
  readonly index: number | undefined;
  readonly register: CpuidRegister;
  readonly bit: number;
}

/** Names from bit 0 on; `.` is a bit without a name. */
const words: readonly [
  leaf: number,
  index: number | undefined,
  register: CpuidRegister,
  names: string,
][] = [
  [
    1,
    undefined,
    "edx",
    "fpu vme de pse tsc msr pae mce cx8 apic . sep mtrr pge mca cmov pat pse36 pn clflush . ds " +
    "acpi mmx fxsr sse sse2 ss ht tm ia64 pbe",
  ],
  [
    1,
    undefined,
    "ecx",
    "pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid . fma cx16 xtpr pdcm . pcid dca " +
    "sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave . avx f16c rdrand hypervisor",
  ],
  [6, undefined, "eax", ". . arat"],
  [
    7,
    0,
    "ebx",
    "fsgsbase tsc-adjust sgx bmi1 hle avx2 fdp-excptn-only smep bmi2 erms invpcid rtm . " +
    "zero-fcs-fds mpx . avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb " +
    "intel-pt avx512pf avx512er avx512cd sha-ni avx512bw avx512vl",
  ],
  [
    7,
    0,
    "ecx",
    ". avx512vbmi umip pku . waitpkg avx512vbmi2 cet-ss gfni vaes vpclmulqdq avx512vnni " +
    "avx512bitalg . avx512-vpopcntdq . la57 . . . . . rdpid . bus-lock-detect cldemote . movdiri " +
    "movdir64b . sgxlc pks",
  ],
  [
    7,
    0,
    "edx",
    ". . avx512-4vnniw avx512-4fmaps fsrm . . . avx512-vp2intersect . md-clear . . . serialize . " +
    "tsx-ldtrk . . arch-lbr cet-ibt . amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp " +
    "flush-l1d arch-capabilities core-capability ssbd",
  ],
  [
    7,
    1,
    "eax",
    "sha512 sm3 sm4 . avx-vnni avx512-bf16 . cmpccxadd . . fzrm fsrs fsrc . . . . fred lkgs " +
    "wrmsrns . amx-fp16 . avx-ifma . . lam . . . . movrs",
  ],
  [
    7,
    1,
    "edx",
    ". . . . avx-vnni-int8 avx-ne-convert . . amx-complex . avx-vnni-int16 . . . prefetchiti . . . " +
    ". avx10 . apxf",
  ],
  [7, 2, "edx", "intel-psfd ipred-ctrl rrsba-ctrl ddpd-u bhi-ctrl mcdt-no"],
  [0xd, 1, "eax", "xsaveopt xsavec xgetbv1 xsaves xfd"],
  [
    0x40000001,
    undefined,
    "eax",
    "kvmclock kvm-nopiodelay kvm-mmu kvmclock kvm-asyncpf kvm-steal-time kvm-pv-eoi " +
    "kvm-pv-unhalt . kvm-pv-tlb-flush kvm-asyncpf-vmexit kvm-pv-ipi kvm-poll-control " +
    "kvm-pv-sched-yield kvm-asyncpf-int kvm-msi-ext-dest-id . . . . . . . . kvmclock-stable-bit",
  ],
  [
    0x80000001,
    undefined,
    "edx",
    ". . . . . . . . . . . syscall . . . . . . . . nx . mmxext . . fxsr-opt pdpe1gb rdtscp . lm " +
    "3dnowext 3dnow",
  ],
  [
    0x80000001,
    undefined,
    "ecx",
    "lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop " +
    "skinit wdt . lwp fma4 tce . nodeid-msr . tbm topoext perfctr-core perfctr-nb",
  ],
  [0x80000007, undefined, "ebx", "overflow-recov succor"],
  [0x80000007, undefined, "edx", ". . . . . . . . invtsc"],
  [
    0x80000008,
    undefined,
    "ebx",
    "clzero . xsaveerptr . . . . . . wbnoinvd . . ibpb . ibrs amd-stibp . stibp-always-on . . . . " +
    ". . amd-ssbd virt-ssbd amd-no-ssb . amd-psfd",
  ],
  [
    0x8000000a,
    undefined,
    "edx",
    "npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists . . pause-filter . " +
    "pfthreshold avic . v-vmsave-vmload vgif . . . . . . . . vnmi . . svme-addr-chk",
  ],
  [
    0x80000021,
    undefined,
    "eax",
    "no-nested-data-bp . lfence-always-serializing . . verw-clear null-sel-clr-base . auto-ibrs . . " +
    ". . . . . . . . . prefetchi . . . eraps . . sbpb ibpb-brtype srso-no srso-user-kernel-no",
  ],
  [0x80000022, undefined, "eax", "perfmon-v2"],
];

const features = new Map<string, CpuidFeature[]>();
for (const [leaf, index, register, names] of words) {
  for (const [bit, name] of names.split(" ").entries()) {
    if (name === ".") continue;
    const bits = features.get(name) ?? [];
    bits.push({ function: leaf, index, register, bit });
    features.set(name, bits);
  }
}

/** The bits that `name` stands for, most often one; none if there is no such feature. */
export function cpuidFeature(name: string): readonly CpuidFeature[] {
  return features.get(name) ?? [];
}

/** A feature's bit in QEMU's words: `CPUID[eax=07h,ecx=00h].EBX.avx512f [bit 16]`. */
export function describeFeature(name: string, feature: CpuidFeature): string {
  const hex = (value: number) => `${value.toString(16).toUpperCase().padStart(2, "0")}h`;
  const part = feature.index === undefined ? "" : `,ecx=${hex(feature.index)}`;
  const place = `CPUID[eax=${hex(feature.function)}${part}].${feature.register.toUpperCase()}`;
  return `${place}.${name} [bit ${feature.bit}]`;
}
