import { assertEquals } from "@std/assert";
import { Ioctl } from "../../../src/kvm/constants.ts";
import { guestCpuid } from "../../../src/kvm/cpuid.ts";
import { Kvm } from "../../../src/kvm/kvm.ts";
import { LocalApic } from "../../../src/kvm/lapic.ts";
import { Vcpu } from "../../../src/kvm/vcpu.ts";
import { KvmVm } from "../../../src/kvm/vm.ts";
import { EventLoop } from "../../../src/native/event_loop.ts";

const X2APIC = 1 << 10;
const clock = { now: () => 0n };

Deno.test("an APIC in x2APIC mode keeps its id over save and load", () => {
  using kvm = new Kvm();
  using vm = new KvmVm(kvm);
  vm.createIrqchip();
  using loop = new EventLoop();
  const cpuid = guestCpuid(
    kvm.supportedCpuid(),
    { cpus: 2, flags: new Map(), tscDeadline: true },
    1,
  );
  using _first = new Vcpu(kvm, vm, loop, 0);
  using vcpu = new Vcpu(kvm, vm, loop, 1);
  vcpu.setCpuid(cpuid);
  const apic = new LocalApic(vcpu, clock);
  const fresh = apic.save();
  apic.load({ ...fresh, apicbase: fresh.apicbase | X2APIC });

  const saved = apic.save();
  assertEquals(saved.id, 1);
  // The logical id follows from the id in this mode: bit 1 of cluster 0.
  const registers = () => vcpu.get(Ioctl.getLapic, 1024, "KVM_GET_LAPIC");
  assertEquals(registers().getUint32(0xd0, true), 1 << 1);
  apic.load(saved);
  assertEquals(apic.save(), saved);
  assertEquals(registers().getUint32(0xd0, true), 1 << 1);
});
