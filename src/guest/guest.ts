/**
 * The guest's side of a virtual machine, built from its configuration and from what a process before
 * this one handed over:
 *
 *   accelerator, RAM -> virtio devices' backends -> board
 */
import { type Accelerator, openAccelerator } from "./accelerator.ts";
import { Announcements } from "./announcements.ts";
import { checkImages } from "../backends/block/check.ts";
import type { Chardevs } from "../backends/chardevs.ts";
import type { DescriptorStore } from "../backends/descriptor_store.ts";
import type { BlockNode } from "../configuration/block.ts";
import type { MicrovmConfig } from "../configuration/machine.ts";
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import {
  checkCpuFlags,
  cpuFlags,
  findFirmware,
  firmwareOptions,
  rtcStart,
  uuidBytes,
} from "./configuration.ts";
import { deviceName } from "../machine/device_names.ts";
import type { DeviceEvent } from "../machine/device_events.ts";
import type { MachineEvent } from "../machine/machine_events.ts";
import { BootFiles } from "../machine/boot_files.ts";
import { Board } from "../machine/board.ts";
import { microvmRam } from "../machine/boards/microvm_ram.ts";
import { microvmPlan } from "../machine/boards/microvm.ts";
import { MachineRam, type RamOptions } from "../machine/ram.ts";
import { readFirmware, type StartUpSource } from "../machine/start_up.ts";
import { VirtioDevices } from "../machine/virtio_devices.ts";
import type { RamBlock } from "../memory/ram_block.ts";
import { Blockers, blockPrivateRam } from "../migration/blockers.ts";
import { watchLostMemory } from "../native/memory_guard.ts";
import type { KeptDescriptor } from "../migration/cpr/descriptors.ts";
import type { MigratableMachine } from "../migration/source.ts";
import type { Descriptor } from "../native/descriptor.ts";
import type { EventLoop } from "../native/event_loop.ts";
import type { OpenPath } from "../native/file.ts";
import { report } from "../process/messages.ts";

/** What a guest is built with. */
export interface GuestEnvironment {
  readonly loop: EventLoop;
  readonly chardevs: Chardevs;
  readonly descriptors: DescriptorStore;
  /** Takes over a descriptor that a process before this one left. */
  readonly adopt: (name: string, id?: number) => Descriptor | undefined;
  /** The machine's state will come from elsewhere. */
  readonly incoming: boolean;
  readonly emit: (event: MachineEvent | DeviceEvent) => void;
}

/** The board, its RAM, and what its devices work with. */
export class Guest implements Disposable {
  readonly board: Board;
  readonly accelerator: Accelerator;
  /** What keeps it from being migrated. */
  readonly blockers: Blockers;
  /** Blocks of RAM that are not whole. */
  readonly #damaged = new Set<RamBlock>();
  /** As migrations see it. */
  readonly source: MigratableMachine;
  readonly announcements: Announcements;
  readonly #ram: MachineRam;
  readonly #virtio: VirtioDevices;
  readonly #resources: DisposableStack;

  /** Builds the guest; takes over `virtio`, the host's side of its devices. */
  private constructor(
    config: VirtualMachineConfig,
    environment: GuestEnvironment,
    virtio: VirtioDevices,
  ) {
    if (config.machine.type !== "microvm") {
      throw new Error(`-machine ${config.machine.type}: unsupported machine type`);
    }
    const { loop, chardevs, descriptors, adopt, incoming, emit } = environment;
    const { openPath } = descriptors;
    using undo = new DisposableStack();
    this.accelerator = openAccelerator(config.accelerators, openPath);
    const kvm = undo.use(this.accelerator.kvm);
    const flags = cpuFlags(config.cpu);
    checkCpuFlags(kvm, flags, report);
    const files = undo.use(new BootFiles(openPath));
    const startUp = startUpSource(config, files, openPath);
    this.#ram = undo.use(createRam(config, config.machine, startUp, { adopt, openPath }));
    this.#virtio = undo.use(virtio);
    this.announcements = undo.use(new Announcements(() => announcedCards(config, virtio)));
    const emitted: GuestEnvironment["emit"] = (event) => {
      emit(event);
      if (event.name === "RESUME") this.announcements.guestRuns();
    };
    const uuid = config.uuid === undefined ? undefined : uuidBytes(config.uuid);
    const serial = config.serialPorts[0];
    const plan = microvmPlan({
      ...boardOptions(config.machine),
      cpus: config.topology.cpus,
      ...(serial?.kind === "chardev" ? { serial: chardevs.port(serial.id) } : {}),
      rtcStart: rtcStart(config),
      rtcClock: config.clock.clock,
      ...(uuid === undefined ? {} : { uuid }),
      firmware: firmwareOptions(config, config.machine, openPath),
      source: startUp,
      virtio: {
        ...config.machine.virtioMmio,
        devices: virtio,
        announceOnCommandLine: config.machine.autoKernelCommandLine,
        report,
      },
    });
    this.board = undo.use(
      new Board(
        loop,
        kvm,
        this.#ram,
        plan,
        {
          cpus: config.topology.cpus,
          cpuFlags: flags.features,
          testDriven: this.accelerator.kind === "qtest",
          dirtyRingSize: this.accelerator.dirtyRingSize,
          report,
          runStateEntered: (state) => virtio.runStateEntered(state),
        },
        {
          noReboot: config.actions.reboot === "shutdown",
          noShutdown: config.actions.shutdown === "pause",
        },
        incoming ? "inmigrate" : "prelaunch",
        emitted,
      ),
    );
    this.blockers = new Blockers(config.onlyMigratable);
    blockPrivateRam(this.blockers, this.#ram.blocks);
    undo.use(watchLostMemory(loop, (address) => this.#memoryLost(address)));
    const { board } = this;
    this.source = {
      machine: board.machine,
      machineType: config.machine.type,
      uuid,
      blocks: this.#ram.blocks,
      memory: this.#ram.memory,
      dirtyTracker: board.dirtyTracker,
      createThrottle: () => board.createThrottle(),
      get sections() {
        return board.sections;
      },
      suppressDescription: config.machine.suppressVmdesc,
    };
    this.#resources = undo.move();
  }

  /** Builds the guest, once its connections to the outside are there. */
  static async create(
    config: VirtualMachineConfig,
    environment: GuestEnvironment,
  ): Promise<Guest> {
    const { descriptors, incoming } = environment;
    // A guest that comes from elsewhere brings its images with it.
    if (!incoming) checkImages(config, descriptors.openPath);
    using undo = new DisposableStack();
    const virtio = undo.use(
      await VirtioDevices.open(config, {
        ...environment,
        report,
        warn: report,
        takeNamedDescriptor: (name) => descriptors.takeNamed(name),
        openPath: descriptors.openPath,
      }),
    );
    const guest = new Guest(config, environment, virtio);
    undo.move();
    return guest;
  }

  /** Disks, network cards and the rest. */
  get devices(): VirtioDevices {
    return this.#virtio;
  }

  /** What a live update hands on: RAM that lives in descriptors, and what devices keep open. */
  descriptors(): KeptDescriptor[] {
    const memory = this.#ram.blocks.flatMap(({ name, backing }) =>
      backing.kind === "descriptor" || backing.kind === "path"
        ? [{ name, id: 0, fd: backing.descriptor.fd }]
        : []
    );
    return [...memory, ...this.#virtio.descriptors()];
  }

  /** A guest without some of its memory must not run on, nor be handed to somebody as if it were whole. */
  #memoryLost(address: bigint): void {
    const block = this.#ram.blocks.find(({ mapping }) =>
      address >= mapping.address && address < mapping.address + BigInt(mapping.size)
    );
    if (block === undefined) return;
    const offset = (address - block.mapping.address).toString(16);
    const reason =
      `the memory '${block.name}' has lost what was at 0x${offset}: its file was cut off`;
    if (!this.#damaged.has(block)) this.blockers.addDamage(reason);
    this.#damaged.add(block);
    this.board.machine.requestFailure(reason);
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}

function announcedCards({ devices }: VirtualMachineConfig, { cards }: VirtioDevices) {
  return cards.map(({ config, device, backend }) => ({
    name: deviceName(config, devices),
    moved: backend?.adopted === false,
    announce: () => device.announce(),
  }));
}

function boardOptions(machine: MicrovmConfig) {
  const acpi = machine.acpi !== "off";
  return {
    acpi,
    pit: machine.pit !== "off",
    pic: machine.pic !== "off",
    // With KVM, QEMU's `auto` leaves the clock out: kvmclock keeps the time.
    rtc: machine.rtc === "on",
    // Without ACPI there is only one, whatever was asked for, as in QEMU.
    ioapic2: acpi && machine.ioapic2 !== "off",
  };
}

function createRam(
  config: VirtualMachineConfig,
  machine: MicrovmConfig,
  source: StartUpSource,
  { adopt, openPath }: Pick<RamOptions, "adopt" | "openPath">,
): MachineRam {
  const backend = config.objects.find((object) =>
    object.type === "memory-backend" && object.id === machine.memoryBackend
  );
  return new MachineRam({
    size: config.memory.size,
    ...(backend?.type === "memory-backend" ? { backend } : {}),
    plan: microvmRam(machine.acpi !== "off"),
    ...(source.kind === "firmware" ? { firmware: source.image.bytes } : {}),
    shareAuxiliary: machine.auxRamShare,
    adopt,
    openPath,
  });
}

function startUpSource(
  { boot, drives, dataDirectories }: VirtualMachineConfig,
  files: BootFiles,
  openPath: OpenPath,
): StartUpSource {
  for (const path of [boot.kernel, boot.initrd]) {
    if (path !== undefined) files.prepare(path);
  }
  const kernel = boot.kernel === undefined ? undefined : {
    kernel: boot.kernel,
    ...(boot.initrd === undefined ? {} : { initrd: boot.initrd }),
    commandLine: boot.append ?? "",
  };
  if (boot.firmware !== undefined) {
    const image = readFirmware(findFirmware(boot.firmware, dataDirectories, openPath), openPath);
    return { files, kind: "firmware", image, ...(kernel === undefined ? {} : { kernel }) };
  }
  if (kernel !== undefined) return { files, kind: "kernel", ...kernel };
  const path = drives.map(({ node }) => node && imagePath(node)).find((found) => found);
  if (path !== undefined) return { files, kind: "disk", path };
  return { files, kind: "nothing" };
}

/** The file or device at the bottom of a block node. */
function imagePath(node: BlockNode): string | undefined {
  if (node.driver === "null-co") return undefined;
  if (node.driver !== "raw") return node.filename;
  return typeof node.file === "string" ? undefined : imagePath(node.file);
}
