/** The board's vCPUs: the threads that run, and what is reset and saved of them. */
import { Capability } from "../kvm/constants.ts";
import { Cpu } from "../kvm/cpu.ts";
import { type CpuidOptions, guestCpuid } from "../kvm/cpuid.ts";
import type { Kvm } from "../kvm/kvm.ts";
import { LocalApic } from "../kvm/lapic.ts";
import { MsrTable } from "../kvm/msrs.ts";
import { Vcpu } from "../kvm/vcpu.ts";
import type { KvmVm } from "../kvm/vm.ts";
import { xsaveLayout } from "../kvm/xsave.ts";
import type { EventLoop } from "../native/event_loop.ts";
import type { MachineClock } from "./clock.ts";

/** Machine checks: 10 banks besides what KVM supports. */
const MACHINE_CHECK_BANKS = 10n;
const DEFAULT_PHYSICAL_BITS = 46;

/** What the host's KVM can report to a guest of its CPUs. */
export type SupportedCpuid = ReturnType<Kvm["supportedCpuid"]>;

/** Creates the vCPUs' threads, parked; `owner` gets them. */
export function createVcpus(
  kvm: Kvm,
  vm: KvmVm,
  loop: EventLoop,
  supported: SupportedCpuid,
  { cpus, cpuFlags }: { readonly cpus: number; readonly cpuFlags: ReadonlyMap<string, boolean> },
  owner: DisposableStack,
): Vcpu[] {
  const cpuid: CpuidOptions = {
    cpus,
    flags: cpuFlags,
    tscDeadline: kvm.capability(Capability.tscDeadlineTimer) > 0,
  };
  return Array.from({ length: cpus }, (_, index) => {
    const vcpu = owner.use(new Vcpu(kvm, vm, loop, index));
    vcpu.setCpuid(guestCpuid(supported, cpuid, index));
    return vcpu;
  });
}

/** Their registers and local APICs. */
export function createCpus(
  kvm: Kvm,
  vcpus: readonly Vcpu[],
  supported: SupportedCpuid,
  clock: MachineClock,
): { cpus: Cpu[]; apics: LocalApic[] } {
  const addressSizes = supported.find((entry) => entry.function === 0x80000008);
  const physicalBits = addressSizes ? addressSizes.eax & 0xff : DEFAULT_PHYSICAL_BITS;
  const dependencies = {
    msrs: new MsrTable(
      kvm.msrIndexList(),
      physicalBits,
      kvm.supportedMachineCheck() | MACHINE_CHECK_BANKS,
    ),
    xsave: xsaveLayout(supported),
    tscKhz: vcpus[0]?.tscKhz() ?? 0,
  };
  return {
    cpus: vcpus.map((vcpu) => new Cpu(vcpu, dependencies)),
    apics: vcpus.map((vcpu) => new LocalApic(vcpu, clock)),
  };
}
