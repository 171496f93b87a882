/**
 * One virtual machine, put together from its configuration:
 *
 *   inherited descriptors -> chardevs, RAM -> board -> monitors -> incoming stream or reset -> run
 *
 * What a live update waits for comes first; what only serves people (command tables, schemas) is
 * loaded when the guest runs.
 */
import { openAccelerator } from "./accelerator.ts";
import { Chardevs } from "./backends/chardevs.ts";
import type { ChardevEnvironment } from "./backends/chardev.ts";
import { channelAddress, parseUri } from "./channel/address.ts";
import type { BlockNode, MicrovmConfig, VirtualMachineConfig } from "./cli/config.ts";
import type { ShutdownReason } from "./machine/machine.ts";
import { Microvm } from "./machine/microvm.ts";
import { MachineRam } from "./machine/ram.ts";
import { VirtioDevices } from "./machine/virtio_devices.ts";
import { readFirmware, type StartUpSource } from "./machine/start_up.ts";
import { Blockers, blockPrivateRam } from "./migration/blockers.ts";
import type { InheritedDescriptors, KeptDescriptor } from "./migration/cpr/descriptors.ts";
import type { Timeline } from "./migration/cpr/timeline.ts";
import { inheritedStream, Migration } from "./migration/migration.ts";
import { readMigrationProperties } from "./migration/properties.ts";
import { DescriptorStore } from "./backends/descriptor_store.ts";
import { inspect } from "./inspection.ts";
import {
  checkCpuFlags,
  cpuFlags,
  findFirmware,
  firmwareOptions,
  rtcStart,
  uuidBytes,
} from "./guest_configuration.ts";
import { EventHub } from "./monitor/events.ts";
import { Monitors } from "./monitor/monitors.ts";
import type { MonitorContext } from "./monitor/context.ts";
import { isOpen } from "./native/descriptor.ts";
import { EventLoop } from "./native/event_loop.ts";
import { processId } from "./native/process.ts";
import { boardTarget } from "./qtest/board.ts";
import { serveQtest } from "./qtest/server.ts";
import { tell } from "./process/messages.ts";
import { version } from "./version.ts";

/** A running virtual machine and everything around it. */
export class VirtualMachine implements Disposable {
  readonly board: Microvm;
  readonly chardevs: Chardevs;
  readonly monitors: Monitors;
  readonly migration: Migration;
  readonly #loop: EventLoop;
  readonly #failed = Promise.withResolvers<never>();
  readonly #resources: DisposableStack;

  private constructor(parts: {
    board: Microvm;
    chardevs: Chardevs;
    monitors: Monitors;
    migration: Migration;
    loop: EventLoop;
    resources: DisposableStack;
  }) {
    this.board = parts.board;
    this.chardevs = parts.chardevs;
    this.monitors = parts.monitors;
    this.migration = parts.migration;
    this.#loop = parts.loop;
    this.#resources = parts.resources;
  }

  /** Builds the machine and starts what its configuration says. */
  static async create(
    config: VirtualMachineConfig,
    loop: EventLoop,
    inherited: InheritedDescriptors | undefined,
    timeline: Timeline,
  ): Promise<VirtualMachine> {
    if (config.machine.type !== "microvm") {
      throw new Error(`-machine ${config.machine.type}: unsupported machine type`);
    }
    using undo = new DisposableStack();
    const adopted = new Set<string>();
    const adopt = (name: string, id = 0) => {
      const descriptor = inherited?.take(name, id);
      if (descriptor) adopted.add(name);
      return descriptor;
    };
    const events = undo.use(new EventHub(loop));
    const descriptors = undo.use(new DescriptorStore());
    for (const { fd, set, opaque } of config.inheritedDescriptors) {
      // A predecessor's set does not outlive an execve.
      if (inherited === undefined || isOpen(fd)) descriptors.addInherited(fd, set, opaque);
    }
    const environment: ChardevEnvironment = {
      loop,
      adopt,
      takeNamedDescriptor: (name) => descriptors.takeNamed(name),
      tell,
      quit: () => vm.board.machine.requestShutdown("host-ui"),
      commitDisks: () => {},
    };
    const chardevs = undo.use(new Chardevs(environment));
    for (const options of config.chardevs) await chardevs.create(options);

    const accelerator = openAccelerator(config.accelerators);
    const kvm = undo.use(accelerator.kvm);
    const flags = cpuFlags(config.cpu);
    checkCpuFlags(kvm, flags, tell);
    const incoming = config.incoming !== undefined || inherited !== undefined;
    const source = startUpSource(config);
    const ram = undo.use(createRam(config, config.machine, source, adopt));
    const serial = config.serialPorts[0];
    const virtio = undo.use(
      new VirtioDevices(config, {
        loop,
        chardevs,
        tell,
        adopt,
        openFromSet: (set, flags) => descriptors.openFromSet(set, flags),
      }),
    );
    const board = undo.use(
      new Microvm(
        loop,
        kvm,
        ram,
        {
          ...boardOptions(config.machine),
          cpus: config.topology.cpus,
          cpuFlags: flags.features,
          ...(serial?.kind === "chardev" ? { serial: chardevs.port(serial.id) } : {}),
          rtcStart: rtcStart(config),
          rtcClock: config.clock.clock,
          ...(config.uuid === undefined ? {} : { uuid: uuidBytes(config.uuid) }),
          firmware: firmwareOptions(config, config.machine),
          source,
          testDriven: accelerator.kind === "qtest",
          dirtyRingSize: accelerator.dirtyRingSize,
          virtio: {
            ...config.machine.virtioMmio,
            devices: virtio,
            announceOnCommandLine: config.machine.autoKernelCommandLine,
            tell,
          },
        },
        {
          noReboot: config.actions.reboot === "shutdown",
          noShutdown: config.actions.shutdown === "pause",
        },
        incoming ? "inmigrate" : "prelaunch",
        (event) => events.emit(event),
      ),
    );

    const blockers = new Blockers();
    blockPrivateRam(blockers, ram.blocks);
    const migration: Migration = new Migration(
      {
        source: {
          machine: board.machine,
          machineType: "microvm",
          uuid: config.uuid === undefined ? undefined : uuidBytes(config.uuid),
          blocks: ram.blocks,
          memory: ram.memory,
          dirtyTracker: board.dirtyTracker,
          createThrottle: () => board.createThrottle(),
          sections: board.sections,
          suppressDescription: config.machine.suppressVmdesc,
        },
        timeline,
        given: descriptors,
        statusChanged: (status) => {
          if (migration.has("events")) events.emit({ name: "MIGRATION", data: { status } });
        },
        passBegan: (pass) => {
          if (migration.has("events")) events.emit({ name: "MIGRATION_PASS", data: { pass } });
        },
        loadFailed: (error) => void vm.monitors.drained().then(() => vm.#failed.reject(error)),
        keptDescriptors: () => [
          ...keptRam(ram),
          ...chardevs.descriptors(),
          ...virtio.descriptors(),
        ],
        beforeExec: async () => {
          await vm.monitors.drained();
          chardevs.releaseTerminal();
        },
      },
      blockers,
      {
        properties: readMigrationProperties(config.globals),
        incoming: config.incoming !== undefined,
        dirtyRing: accelerator.dirtyRingSize > 0,
        startAfterLoad: !config.startPaused,
      },
    );
    const context: MonitorContext = {
      machine: {
        status: () => ({ status: board.machine.runState, running: board.machine.running }),
        stop: () => {
          if (migration.ownsRunState) migration.userWants(false);
          else board.machine.stop();
        },
        cont: () => {
          if (migration.ownsRunState) migration.userWants(true);
          else board.machine.start();
        },
        reset: () => board.machine.requestReset("host-qmp-system-reset"),
        powerDown: () => board.machine.powerDown(),
        injectNmi: () =>
          board.machine.whileParked(() => board.machine.vcpus.forEach((v) => v.nmi())),
        wakeUp: () => {
          throw new Error("wake-up from suspend is not supported by this guest");
        },
        quit: () => board.machine.requestShutdown("host-qmp-quit"),
      },
      identity: {
        name: config.name,
        uuid: config.uuid ?? "00000000-0000-0000-0000-000000000000",
        package: `molt ${version}`,
      },
      ...inspect(board, config, accelerator.kind),
      chardevs,
      descriptors,
      update: {
        query: () => ({
          generation: timeline.generation,
          pid: processId(),
          version,
          ...(timeline.parts ? { parts: { ...timeline.parts } } : {}),
        }),
      },
      migration,
    };
    const monitors = undo.use(new Monitors(context, events));
    for (const { chardev, mode, pretty } of config.monitors) {
      monitors.add(chardevs.port(chardev), { mode, pretty });
    }
    if (config.qtest !== undefined) {
      const { chardev, log } = config.qtest;
      const target = boardTarget(board, accelerator);
      undo.use(serveQtest(environment, chardevs.port(chardev), log, target));
    }
    chardevs.start();

    const vm: VirtualMachine = new VirtualMachine({
      board,
      chardevs,
      monitors,
      migration,
      loop,
      resources: undo.move(),
    });
    await vm.#start(config, inherited, adopted);
    void monitors.preload();
    return vm;
  }

  /** Resolves with the reason when the machine has ended; rejects if it could not be loaded. */
  get ended(): Promise<ShutdownReason> {
    return Promise.race([this.board.machine.ended, this.#failed.promise]);
  }

  /** Ends the machine, after what is under way. */
  end(reason: ShutdownReason): void {
    this.board.machine.requestShutdown(reason);
  }

  async #start(
    config: VirtualMachineConfig,
    inherited: InheritedDescriptors | undefined,
    adopted: ReadonlySet<string>,
  ): Promise<void> {
    const { machine } = this.board;
    const stream = inherited && inheritedStream(inherited);
    const main = config.incoming?.main;
    if (stream) {
      using channel = stream;
      await this.migration.receive(channel, inherited, adopted);
    } else if (main !== undefined && main.kind !== "defer") {
      const address = main.kind === "uri" ? parseUri(main.uri) : channelAddress(main.address);
      await this.migration.listen(address, true);
    } else if (config.incoming === undefined) {
      machine.resetDevices();
      if (!config.startPaused) machine.start();
    }
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}

function boardOptions(machine: MicrovmConfig) {
  const acpi = machine.acpi !== "off";
  return {
    acpi,
    pit: machine.pit !== "off",
    pic: machine.pic !== "off",
    // With KVM, QEMU's `auto` leaves the clock out: kvmclock tells the time.
    rtc: machine.rtc === "on",
    // Without ACPI there is only one, whatever was asked for, as in QEMU.
    ioapic2: acpi && machine.ioapic2 !== "off",
  };
}

function createRam(
  config: VirtualMachineConfig,
  machine: MicrovmConfig,
  source: StartUpSource,
  adopt: (name: string) => ReturnType<InheritedDescriptors["take"]>,
): MachineRam {
  const backend = config.objects.find((object) =>
    object.type === "memory-backend" && object.id === machine.memoryBackend
  );
  return new MachineRam({
    size: config.memory.size,
    ...(backend?.type === "memory-backend" ? { backend } : {}),
    acpi: machine.acpi !== "off",
    ...(source.kind === "firmware" ? { firmware: source.image.bytes } : {}),
    shareAuxiliary: machine.auxRamShare,
    adopt,
  });
}

function startUpSource({ boot, drives, dataDirectories }: VirtualMachineConfig): StartUpSource {
  const kernel = boot.kernel === undefined ? undefined : {
    kernel: boot.kernel,
    ...(boot.initrd === undefined ? {} : { initrd: boot.initrd }),
    commandLine: boot.append ?? "",
  };
  if (boot.firmware !== undefined) {
    const image = readFirmware(findFirmware(boot.firmware, dataDirectories));
    return { kind: "firmware", image, ...(kernel === undefined ? {} : { kernel }) };
  }
  if (kernel !== undefined) return { kind: "kernel", ...kernel };
  const path = drives.map(({ node }) => node && imagePath(node)).find((found) => found);
  if (path !== undefined) return { kind: "disk", path };
  return { kind: "nothing" };
}

/** The file or device at the bottom of a block node. */
function imagePath(node: BlockNode): string | undefined {
  if (node.driver === "null-co") return undefined;
  if (node.driver !== "raw") return node.filename;
  return typeof node.file === "string" ? undefined : imagePath(node.file);
}

/** RAM that lives in descriptors; named files are opened again. */
function keptRam(ram: MachineRam): KeptDescriptor[] {
  return ram.blocks.flatMap(({ name, backing }) =>
    backing.kind === "descriptor" ? [{ name, id: 0, fd: backing.descriptor.fd }] : []
  );
}
