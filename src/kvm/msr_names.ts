/** Names of model specific registers, for messages: Intel's and AMD's manuals', and KVM's for its own. */

const names: ReadonlyMap<number, string> = new Map([
  [0x10, "IA32_TIME_STAMP_COUNTER"],
  [0x1b, "IA32_APIC_BASE"],
  [0x34, "MSR_SMI_COUNT"],
  [0x3a, "IA32_FEATURE_CONTROL"],
  [0x3b, "IA32_TSC_ADJUST"],
  [0x48, "IA32_SPEC_CTRL"],
  [0xe1, "IA32_UMWAIT_CONTROL"],
  [0x122, "IA32_TSX_CTRL"],
  [0x174, "IA32_SYSENTER_CS"],
  [0x175, "IA32_SYSENTER_ESP"],
  [0x176, "IA32_SYSENTER_EIP"],
  [0x179, "IA32_MCG_CAP"],
  [0x17a, "IA32_MCG_STATUS"],
  [0x17b, "IA32_MCG_CTL"],
  [0x1a0, "IA32_MISC_ENABLE"],
  [0x250, "IA32_MTRR_FIX64K_00000"],
  [0x258, "IA32_MTRR_FIX16K_80000"],
  [0x259, "IA32_MTRR_FIX16K_A0000"],
  [0x277, "IA32_PAT"],
  [0x2ff, "IA32_MTRR_DEF_TYPE"],
  [0x6e0, "IA32_TSC_DEADLINE"],
  [0x6e1, "IA32_PKRS"],
  [0xda0, "IA32_XSS"],
  [0x4b564d00, "MSR_KVM_WALL_CLOCK_NEW"],
  [0x4b564d01, "MSR_KVM_SYSTEM_TIME_NEW"],
  [0x4b564d02, "MSR_KVM_ASYNC_PF_EN"],
  [0x4b564d03, "MSR_KVM_STEAL_TIME"],
  [0x4b564d04, "MSR_KVM_PV_EOI_EN"],
  [0x4b564d05, "MSR_KVM_POLL_CONTROL"],
  [0x4b564d06, "MSR_KVM_ASYNC_PF_INT"],
  [0xc0000080, "IA32_EFER"],
  [0xc0000081, "IA32_STAR"],
  [0xc0000082, "IA32_LSTAR"],
  [0xc0000083, "IA32_CSTAR"],
  [0xc0000084, "IA32_FMASK"],
  [0xc0000100, "IA32_FS_BASE"],
  [0xc0000101, "IA32_GS_BASE"],
  [0xc0000102, "IA32_KERNEL_GS_BASE"],
  [0xc0000103, "IA32_TSC_AUX"],
  [0xc0010015, "HWCR"],
  [0xc0010117, "VM_HSAVE_PA"],
  [0xc001011f, "VIRT_SPEC_CTRL"],
]);

/** The registers of variable ranges, and of machine check banks: several for each. */
function indexedName(index: number): string | undefined {
  if (index >= 0x200 && index < 0x220) {
    const range = (index - 0x200) >> 1;
    return `IA32_MTRR_PHYS${index % 2 === 0 ? "BASE" : "MASK"}${range}`;
  }
  if (index >= 0x268 && index < 0x270) {
    return `IA32_MTRR_FIX4K_${(0xc0000 + (index - 0x268) * 0x8000).toString(16).toUpperCase()}`;
  }
  if (index >= 0x400 && index < 0x480) {
    return `IA32_MC${(index - 0x400) >> 2}_${["CTL", "STATUS", "ADDR", "MISC"][index % 4]}`;
  }
  return undefined;
}

/** `IA32_PAT (MSR 0x277)`; `MSR 0x8b` where there is no name. */
export function msrName(index: number): string {
  const number = `MSR 0x${index.toString(16)}`;
  const name = names.get(index) ?? indexedName(index);
  return name === undefined ? number : `${name} (${number})`;
}
