/**
 * What every board has: KVM's virtual machine, processors, clock, memory slots, address spaces of registers,
 * interrupt inputs, the log of written pages. What stands where is a board's plan (boards/).
 *
 *   KVM, memory slots -> interrupt controllers -> clock, vCPUs -> the plan's devices, in the order in which
 *   streams have them -> the machine
 */
import type { InterruptLine } from "../devices/device.ts";
import type { DeviceHost } from "../devices/model.ts";
import { SharedLine } from "../devices/shared_line.ts";
import type { InitialCpu } from "../boot/boot.ts";
import { CpuCommon } from "../kvm/cpu.ts";
import { DirtyLog } from "../kvm/dirty_log.ts";
import { DirtyRing } from "../kvm/dirty_ring.ts";
import type { DirtyTracker } from "../kvm/dirty_tracker.ts";
import { KernelIoapic, Pic } from "../kvm/irqchip.ts";
import type { Kvm } from "../kvm/kvm.ts";
import { KvmClock } from "../kvm/kvmclock.ts";
import { Pit } from "../kvm/pit.ts";
import { KvmVm } from "../kvm/vm.ts";
import type { EventLoop } from "../native/event_loop.ts";
import { NativeVector } from "../native/message_vector.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import { Bus } from "./bus.ts";
import { MachineClock } from "./clock.ts";
import { ClockSection } from "./clock_section.ts";
import { createCpus, createVcpus, type SupportedCpuid } from "./cpus.ts";
import type { DeviceEvent } from "./device_events.ts";
import { MachineDevices } from "./devices.ts";
import { type EndPolicy, Machine } from "./machine.ts";
import type { MachineEvent } from "./machine_events.ts";
import { type MachineRam, MemorySlots } from "./ram.ts";
import type { RunState } from "./run_state.ts";
import { VcpuThrottle } from "./throttle.ts";
import { TprOptimization } from "./tpr_opt.ts";

/** What every board is built from. */
export interface BoardOptions {
  readonly cpus: number;
  /** -cpu's flags. */
  readonly cpuFlags: ReadonlyMap<string, boolean>;
  /** A test drives the board (-accel qtest): no vCPU runs, and the test turns the clock on. */
  readonly testDriven: boolean;
  /** Entries of each vCPU's dirty ring; 0: the dirty log is used. */
  readonly dirtyRingSize: number;
  /** Takes messages for the user. */
  readonly report: (message: string) => void;
  /** The machine is about to be in another run state. Throwing keeps it from `running`. */
  readonly runStateEntered: (state: RunState) => void;
}

/** What stands where on a board. */
export interface BoardPlan {
  /** The interval timer is there. */
  readonly pit: boolean;
  /** Creates the devices. Of one rank they are in the order of the stream (devices/model.ts). */
  populate(site: BuildingSite): BoardStart;
}

/** How the guest starts, at first and after each reset. */
export interface BoardStart {
  /** Loads what it starts from, when all devices are reset. */
  load(): InitialCpu;
}

/** What a plan works with. */
export interface BuildingSite {
  readonly loop: EventLoop;
  readonly vm: KvmVm;
  readonly ram: MachineRam;
  readonly cpuid: SupportedCpuid;
  readonly clock: MachineClock;
  readonly devices: MachineDevices;
  readonly host: DeviceHost;
  /** Disposed with the board. */
  readonly owner: DisposableStack;
  /** The machine's state will come from elsewhere. */
  readonly incoming: boolean;
  readonly emit: (event: MachineEvent | DeviceEvent) => void;
  /** Stops the machine if it runs. Not to be called while an access is under way. */
  stop(state: RunState): void;
  /** The last requests that were under way in stopped queues of a device have ended. */
  requestsEnded(): void;
  /** Global system interrupts from `first` are the inputs of a controller that KVM does not have. */
  connectInputs(first: number, input: (pin: number) => InterruptLine): void;
  /** Adds the processors. */
  addProcessors(): void;
  /** Adds the in-kernel I/O APIC, of GSI 0 to 23. */
  addKernelIoapic(): void;
  /** Adds the in-kernel PICs. `saved`: streams have them. */
  addPics(saved: boolean): void;
  /** Adds the in-kernel interval timer, if the plan has it. */
  addPit(): void;
  /** Adds kvmclock. */
  addKvmClock(): void;
}

/** The built board: the machine, and what a migration saves of it. */
export class Board implements Disposable {
  readonly machine: Machine;
  readonly ram: MachineRam;
  readonly slots: MemorySlots;
  /** Says to a live migration what the guest writes. */
  readonly dirtyTracker: DirtyTracker;
  readonly vm: KvmVm;
  readonly kvm: Kvm;
  readonly ports = new Bus("ones");
  readonly memory = new Bus("zeros");
  readonly devices: MachineDevices;
  readonly #resources: DisposableStack;
  readonly #loop: EventLoop;
  readonly #lines = new Map<number, SharedLine>();
  /** Inputs of controllers that KVM does not have, by their first GSI. */
  readonly #inputs: { readonly first: number; readonly input: (pin: number) => InterruptLine }[] =
    [];

  /** Takes over `kvm` and `ram`. */
  constructor(
    loop: EventLoop,
    kvm: Kvm,
    ram: MachineRam,
    plan: BoardPlan,
    options: BoardOptions,
    policy: EndPolicy,
    runState: "prelaunch" | "inmigrate",
    emit: (event: MachineEvent | DeviceEvent) => void,
  ) {
    using undo = new DisposableStack();
    this.#loop = loop;
    this.kvm = undo.use(kvm);
    this.ram = undo.use(ram);
    const vm = this.vm = undo.use(new KvmVm(kvm));
    this.slots = new MemorySlots(vm, ram.memory);
    vm.createIrqchip();
    vm.setStandardRouting();
    if (plan.pit) vm.createPit();

    const clock = undo.use(
      new MachineClock(
        loop,
        options.testDriven ? "test" : "host",
        (fault) => this.machine.fault("a device's timer", fault),
      ),
    );
    const rings = options.dirtyRingSize > 0 && vm.enableDirtyRings(kvm, options.dirtyRingSize);
    const cpuid = kvm.supportedCpuid();
    const vcpus = createVcpus(kvm, vm, loop, cpuid, options, undo);
    this.dirtyTracker = rings
      ? undo.use(new DirtyRing(vm, vcpus, this.slots, options.dirtyRingSize))
      : new DirtyLog(kvm, vm, this.slots);
    const { cpus, apics } = createCpus(kvm, vcpus, cpuid, clock);

    const host = this.#host(clock, options);
    const devices = this.devices = new MachineDevices(host, undo);
    for (const apic of apics) {
      devices.add({ sections: [apic], resettable: apic }, {
        sectionRank: "apic",
        resetRank: "processor",
      });
    }
    devices.add({ sections: [new ClockSection(clock)] });
    const start = plan.populate({
      loop,
      vm,
      ram,
      cpuid,
      clock,
      devices,
      host,
      owner: undo,
      incoming: runState === "inmigrate",
      emit,
      stop: (state) => {
        if (this.machine.running) this.machine.stop(state);
      },
      requestsEnded: () => this.machine.requestsEnded(),
      connectInputs: (first, input) => void this.#inputs.push({ first, input }),
      addProcessors: () => {
        cpus.forEach((cpu, index) => {
          const saved = [new CpuCommon(cpu), cpu];
          devices.add({ sections: saved, resettable: cpu }, { resetRank: "processor" });
          if (index === 0) devices.add({ sections: [new TprOptimization()] });
        });
      },
      addKernelIoapic: () => {
        const ioapic = new KernelIoapic(vm);
        devices.add({ sections: [ioapic], resettable: ioapic }, {
          resetRank: "controller",
        });
      },
      addPics: (saved) => {
        for (const pic of [new Pic(vm, 0), new Pic(vm, 1)]) {
          devices.add({ sections: saved ? [pic] : [], resettable: pic }, {
            resetRank: "controller",
          });
        }
      },
      addPit: () => {
        if (!plan.pit) return;
        const pit = new Pit(vm, clock);
        devices.add({ sections: [pit], resettable: pit, timekeeper: pit });
      },
      addKvmClock: () => {
        const kvmClock = new KvmClock(vm, vcpus);
        devices.add({ sections: [kvmClock], timekeeper: kvmClock });
      },
    });
    devices.add({ resettable: { reset: () => cpus[0]?.start(start.load()) } }, {
      resetRank: "start",
    });
    for (const part of [...cpus, ...apics]) part.rememberPowerOn();
    this.machine = new Machine(
      {
        loop,
        vcpus,
        execute: !options.testDriven,
        buses: { ports: this.ports, memory: this.memory },
        clock,
        get timekeepers() {
          return devices.timekeepers;
        },
        get listeners() {
          return devices.listeners;
        },
        get resettables() {
          return devices.resettables;
        },
        powerButton: () => devices.powerButton(),
        endOfInterrupt: (vector) => devices.endOfInterrupt(vector),
        requests: {
          stop: () => devices.requestSources.forEach((source) => source.stopQueues()),
          underWay: () =>
            devices.requestSources.flatMap(({ requestsUnderWay }) => requestsUnderWay ?? []),
        },
        collectDirtyRings: () => this.dirtyTracker.emptyRings(),
        runStateEntered: options.runStateEntered,
      },
      policy,
      runState,
      emit,
    );
    options.runStateEntered(runState);
    this.#resources = undo.move();
  }

  /** Sections of the stream, in its order. */
  get sections(): readonly SavedDevice[] {
    return this.devices.sections;
  }

  /** Something that takes time away from the vCPUs until it is disposed. */
  createThrottle(): VcpuThrottle {
    return new VcpuThrottle(this.#loop, this.machine.vcpus);
  }

  /** Ends the vCPUs and frees everything. The machine must be stopped. */
  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }

  #host(clock: MachineClock, { report }: BoardOptions): DeviceHost {
    const { vm } = this;
    return {
      clock,
      ports: this.ports,
      memory: this.memory,
      ram: this.ram.memory,
      line: (gsi) => this.#input(gsi),
      vectors: { create: () => new NativeVector(vm.fd) },
      signalMessage: ({ address, data }) => vm.signalMsi(address, data),
      changeMemory: (change) => this.machine.requestMemoryChange(change),
      powerOff: () => this.machine.requestShutdown("guest-shutdown"),
      reset: () => this.machine.requestReset("guest-reset"),
      faulted: (part, fault) => this.machine.fault(part, fault),
      report,
    };
  }

  /** One more input of a global system interrupt. */
  #input(gsi: number): InterruptLine {
    const known = this.#lines.get(gsi);
    if (known !== undefined) return known.input();
    const shared = new SharedLine(this.#line(gsi));
    this.#lines.set(gsi, shared);
    return shared.input();
  }

  #line(gsi: number): InterruptLine {
    const KERNEL_INPUTS = 24;
    if (gsi >= KERNEL_INPUTS) {
      const controller = this.#inputs.findLast(({ first }) => gsi >= first);
      if (controller === undefined) throw new RangeError(`there is no interrupt ${gsi}`);
      return controller.input(gsi - controller.first);
    }
    let current: boolean | undefined;
    return {
      set: (level) => {
        if (level === current) return;
        current = level;
        this.vm.setIrqLine(gsi, level);
      },
    };
  }
}
