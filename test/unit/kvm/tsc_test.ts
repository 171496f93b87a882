/** The time stamp counter that a guest brings along goes on here from where it was. */
import { assert } from "@std/assert";
import type { Cpu } from "../../../src/kvm/cpu.ts";
import { Kvm } from "../../../src/kvm/kvm.ts";
import type { Vcpu } from "../../../src/kvm/vcpu.ts";
import { KvmVm } from "../../../src/kvm/vm.ts";
import { createCpus, createVcpus } from "../../../src/machine/cpus.ts";
import type { MachineClock } from "../../../src/machine/clock.ts";
import { EventLoop } from "../../../src/native/event_loop.ts";

const TSC = 0x10;
/** How old the machine is that the guest comes to, in ms. */
const AGE = 1500;
/** What the guest's counter is ahead of, or behind, the machine's own: within a second of it, and not. */
const DIFFERENCES = [-0.9, -0.3, 0.3, 0.9, 100];

/** Two vCPUs after their reset, as a machine has them that waits for a guest. */
class WaitingCpus implements Disposable {
  readonly vcpus: readonly Vcpu[];
  readonly cpus: readonly Cpu[];
  readonly ticksPerSecond: number;
  readonly #resources: DisposableStack;

  constructor() {
    using undo = new DisposableStack();
    const kvm = undo.use(new Kvm());
    const vm = undo.use(new KvmVm(kvm));
    vm.createIrqchip();
    const loop = undo.use(new EventLoop());
    const cpuid = kvm.supportedCpuid();
    this.vcpus = createVcpus(kvm, vm, loop, cpuid, { cpus: 2, cpuFlags: new Map() }, undo);
    const clock = { now: () => 0n } as unknown as MachineClock;
    this.cpus = createCpus(kvm, this.vcpus, cpuid, clock).cpus;
    for (const cpu of this.cpus) cpu.rememberPowerOn();
    for (const cpu of this.cpus) cpu.reset();
    this.ticksPerSecond = (this.vcpus[0]?.tscKhz() ?? 0) * 1000;
    this.#resources = undo.move();
  }

  /** The counter of a vCPU now. */
  tsc(index: number): bigint {
    return this.vcpus[index]?.getMsr(TSC) ?? 0n;
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}

for (const difference of DIFFERENCES) {
  Deno.test(`a guest whose TSC is ${difference} s ahead of a waiting machine's keeps it`, async () => {
    using waiting = new WaitingCpus();
    await new Promise((resolve) => setTimeout(resolve, AGE));
    const { ticksPerSecond } = waiting;
    const wanted = waiting.tsc(0) + BigInt(Math.round(difference * ticksPerSecond));
    const begun = performance.now();
    // A second vCPU is saved a little later.
    waiting.cpus.forEach((cpu, index) =>
      cpu.load({ ...cpu.save(), tsc: wanted + BigInt(index) * 1000n })
    );
    const [first, second, last] = [waiting.tsc(0), waiting.tsc(1), waiting.tsc(0)];
    const ticks = BigInt(Math.ceil((performance.now() - begun) / 1000 * ticksPerSecond * 1.01));
    assert(first >= wanted, `${wanted - first} ticks back`);
    assert(last <= wanted + ticks, `${last - wanted} ticks forward in ${ticks}`);
    assert(first <= second && second <= last, "the vCPUs' counters are one");
  });
}
