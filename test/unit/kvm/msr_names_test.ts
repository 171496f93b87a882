import { assertEquals } from "@std/assert";
import { msrName } from "../../../src/kvm/msr_names.ts";

Deno.test("registers are named as the manuals name them, each with its number", () => {
  const names: readonly (readonly [index: number, name: string])[] = [
    [0x277, "IA32_PAT (MSR 0x277)"],
    [0x203, "IA32_MTRR_PHYSMASK1 (MSR 0x203)"],
    [0x268, "IA32_MTRR_FIX4K_C0000 (MSR 0x268)"],
    [0x26f, "IA32_MTRR_FIX4K_F8000 (MSR 0x26f)"],
    [0x409, "IA32_MC2_STATUS (MSR 0x409)"],
    [0x4b564d02, "MSR_KVM_ASYNC_PF_EN (MSR 0x4b564d02)"],
    [0x8b, "MSR 0x8b"],
  ];
  for (const [index, name] of names) assertEquals(msrName(index), name);
});
