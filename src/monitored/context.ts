/** What monitor commands act on: a view of the virtual machine, also before its guest is there. */
import type { Chardevs } from "../backends/chardevs.ts";
import type { DescriptorStore } from "../backends/descriptor_store.ts";
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import type { Guest } from "../guest/guest.ts";
import { inspect, type Inspection, inspectNothing } from "./board.ts";
import type { ShutdownReason } from "../machine/machine_events.ts";
import type { Timeline } from "../migration/cpr/timeline.ts";
import type { PhaseRecord } from "../migration/phases.ts";
import type { Migration } from "../migration/migration.ts";
import type { MachineControl, MonitorContext, UpdateControl } from "../monitor/context.ts";
import type { UpdateInformation } from "../monitor/events.ts";
import { processId } from "../native/process.ts";
import { launch } from "../process/launch.ts";
import { build, packageName, version } from "../version.ts";

/** What monitors see of a virtual machine. */
export interface MonitoredMachine {
  readonly config: VirtualMachineConfig;
  readonly chardevs: Chardevs;
  readonly descriptors: DescriptorStore;
  readonly migration: Migration;
  readonly timeline: Timeline;
  /** Absent while the machine waits for what it is to be built from. */
  readonly guest: Guest | undefined;
  /** Ends the machine, after what is under way. */
  end(reason: ShutdownReason): void;
}

/** Which monitor this is, and how long the guest was paused for it. */
export function updateInformation({ generation, account }: Timeline): UpdateInformation {
  return {
    generation,
    pid: processId(),
    version,
    build: build(),
    ...(account === undefined ? {} : { pauses: [...account.pauses], parts: { ...account.parts } }),
  };
}

/** How this process came to be, and how its successor is to be started. */
export function updateControl(
  information: () => UpdateInformation,
  phases: () => PhaseRecord[],
  check: UpdateControl["check"],
): UpdateControl {
  return {
    query: () => {
      const { command, directory } = launch.information;
      return {
        ...information(),
        phases: phases(),
        launch: { command: [...command], directory },
      };
    },
    check,
    rename: (from, to) => launch.rename(from, to),
  };
}

/** The context of `vm`'s monitors. */
export function monitorContext(vm: MonitoredMachine): MonitorContext {
  const { config, timeline } = vm;
  const nothing = inspectNothing("kvm", config.machine.type);
  const inspections = new WeakMap<Guest, Inspection>();
  const inspection = () => {
    const { guest } = vm;
    if (guest === undefined) return nothing;
    const known = inspections.get(guest) ??
      inspect(
        guest.board,
        config,
        guest.devices,
        guest.announcements,
        guest.accelerator.kind,
      );
    inspections.set(guest, known);
    return known;
  };
  return {
    machine: machineControl(vm),
    identity: {
      name: config.name,
      uuid: config.uuid ?? "00000000-0000-0000-0000-000000000000",
      package: packageName(),
    },
    get capabilities() {
      return inspection().capabilities;
    },
    get cpus() {
      return inspection().cpus;
    },
    get memory() {
      return inspection().memory;
    },
    get ports() {
      return inspection().ports;
    },
    get block() {
      return inspection().block;
    },
    get network() {
      return inspection().network;
    },
    get balloon() {
      return inspection().balloon;
    },
    get iothreads() {
      return inspection().iothreads;
    },
    get objects() {
      return inspection().objects;
    },
    chardevs: vm.chardevs,
    descriptors: vm.descriptors,
    update: updateControl(
      () => updateInformation(timeline),
      () => timeline.phases.records,
      (command) => vm.migration.check(command),
    ),
    migration: vm.migration,
  };
}

function machineControl(vm: MonitoredMachine): MachineControl {
  const { migration } = vm;
  const machine = () => {
    if (vm.guest === undefined) throw new Error("the guest has not arrived yet");
    return vm.guest.board.machine;
  };
  return {
    status: () =>
      vm.guest === undefined
        ? { status: "inmigrate", running: false }
        : { status: machine().runState, running: machine().running },
    stop: () => {
      if (migration.ownsRunState) return migration.setDesiredRunState(false);
      machine().stop();
      return machine().settled({ limited: true });
    },
    cont: () => {
      if (migration.ownsRunState) migration.setDesiredRunState(true);
      else machine().start();
    },
    reset: () => machine().requestReset("host-qmp-system-reset"),
    powerDown: () => machine().powerDown(),
    injectNmi: () => machine().whileParked(() => machine().vcpus.forEach((vcpu) => vcpu.nmi())),
    wakeUp: () => {
      throw new Error("wake-up from suspend is not supported by this guest");
    },
    quit: () => vm.end("host-qmp-quit"),
    setEndPolicy: (change) => machine().changePolicy(change),
  };
}
