/** What monitors show of a built machine: facts of the board and the configuration, as data. */
import { isDeviceDriver } from "../configuration/device_models.ts";
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import { readRegisters, translate } from "./cpu.ts";
import { inspectDevices, noDevices } from "./devices.ts";
import type { Announcements } from "../guest/announcements.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Bus } from "../machine/bus.ts";
import type { Board } from "../machine/board.ts";
import { MICROVM_RAM_NAME } from "../machine/boards/microvm_ram.ts";
import type { VirtioDevices } from "../machine/virtio_devices.ts";
import { GuestMemoryError } from "../memory/guest_memory.ts";
import type {
  AddressSpaceInfo,
  Capabilities,
  CpuControl,
  MemoryBackendInfo,
  MemoryControl,
  MemoryRegionInfo,
  MonitorContext,
  RamBlockInfo,
} from "../monitor/context.ts";
import { ObjectTree } from "../monitor/object_tree.ts";

const MICROVM_CPU_LIMIT = 8;

/** The subjects of a {@linkcode MonitorContext} that only look. */
export type Inspection = Pick<
  MonitorContext,
  | "capabilities"
  | "cpus"
  | "memory"
  | "ports"
  | "block"
  | "network"
  | "balloon"
  | "iothreads"
  | "objects"
>;

/** The read-only subjects of a {@linkcode MonitorContext}. */
export function inspect(
  board: Board,
  config: VirtualMachineConfig,
  devices: VirtioDevices,
  announcements: Announcements,
  accelerator: "kvm" | "qtest",
): Inspection {
  const cpus = cpuControl(board, config);
  const backends = memoryBackends(board, config);
  return {
    capabilities: capabilities(accelerator),
    cpus,
    memory: memoryControl(board, backends),
    ports: board.ports,
    ...inspectDevices(config, devices, announcements),
    iothreads: [],
    objects: objectTree(config, cpus, backends),
  };
}

/** The same of a machine without CPUs, memory and devices, or one that is not built yet. */
export function inspectNothing(
  accelerator: "kvm" | "qtest",
  machineType: "none" | "microvm" = "none",
): Inspection {
  const objects = new ObjectTree();
  objects.add("/machine", { type: `${machineType}-machine` });
  return {
    capabilities: capabilities(accelerator),
    cpus: {
      list: () => [],
      registers: (index) => {
        throw new RangeError(`there is no vCPU ${index}`);
      },
    },
    memory: {
      backends: () => [],
      ramBlocks: () => [],
      addressSpaces: () => [{ name: "I/O", regions: [] }, { name: "memory", regions: [] }],
      size: 0,
      readPhysical: () => undefined,
      translate: () => undefined,
    },
    ports: { read: (_port, size) => 2 ** (8 * size) - 1, write: () => {} },
    ...noDevices,
    iothreads: [],
    objects,
  };
}

function capabilities(accelerator: "kvm" | "qtest"): Capabilities {
  return {
    accelerators: { enabled: accelerator, present: ["kvm", "qtest"] },
    machineTypes: [
      { name: "none", maximumCpus: 1, acpi: false, defaultRamId: "ram" },
      {
        name: "microvm",
        maximumCpus: MICROVM_CPU_LIMIT,
        acpi: true,
        defaultCpuType: "host-x86_64-cpu",
        defaultRamId: MICROVM_RAM_NAME,
      },
    ],
    isDeviceModel: isDeviceDriver,
  };
}

function vcpuOf(board: Board, index: number): Vcpu {
  const vcpu = board.machine.vcpus[index];
  if (vcpu === undefined) throw new RangeError(`there is no vCPU ${index}`);
  return vcpu;
}

function cpuControl(board: Board, config: VirtualMachineConfig): CpuControl {
  const { cores, threads } = config.topology;
  return {
    list: () =>
      board.machine.vcpus.map((vcpu) => ({
        index: vcpu.index,
        threadId: vcpu.thread.threadId,
        type: `${config.cpu.model}-x86_64-cpu`,
        path: `/machine/unattached/device[${vcpu.index}]`,
        socketId: Math.floor(vcpu.index / (cores * threads)),
        coreId: Math.floor(vcpu.index / threads) % cores,
        smtId: vcpu.index % threads,
      })),
    registers: (index) => board.machine.whileParked(() => readRegisters(vcpuOf(board, index))),
  };
}

function memoryBackends(board: Board, config: VirtualMachineConfig): MemoryBackendInfo[] {
  const configured = config.objects.flatMap((object) =>
    object.type === "memory-backend"
      ? [{
        id: object.id,
        size: object.size,
        merge: object.merge ?? true,
        dump: object.dump ?? true,
        prealloc: object.prealloc ?? false,
        share: object.kind === "shm" || object.share,
        reserve: true,
      }]
      : []
  );
  if (config.machine.type === "microvm" && config.machine.memoryBackend !== "") return configured;
  const { name, usedLength, shared } = board.ram.main;
  const flags = { merge: true, dump: true, prealloc: false, reserve: true };
  return [{ id: name, size: usedLength, share: shared, ...flags }, ...configured];
}

function ramBlocks(board: Board): RamBlockInfo[] {
  let offset = 0;
  return board.ram.blocks.map((block) => {
    const info = {
      name: block.name,
      pageSize: block.pageSize,
      offset,
      used: block.usedLength,
      total: block.maximumLength,
      hostAddress: block.mapping.address,
      readOnly: block.name.startsWith("/rom@"),
    };
    offset += block.maximumLength;
    return info;
  });
}

function registersOf(bus: Bus): MemoryRegionInfo[] {
  return bus.regions.map(({ name, start, length }) => ({ name, start, length, kind: "i/o" }));
}

function addressSpaces(board: Board): AddressSpaceInfo[] {
  const ram = board.ram.memory.regions.map(({ address, size, block }): MemoryRegionInfo => ({
    name: block.name,
    start: address,
    length: size,
    kind: block === board.ram.main ? "ram" : "rom",
  }));
  const memory = [...ram, ...registersOf(board.memory)].sort((a, b) => a.start - b.start);
  return [{ name: "I/O", regions: registersOf(board.ports) }, { name: "memory", regions: memory }];
}

function memoryControl(board: Board, backends: readonly MemoryBackendInfo[]): MemoryControl {
  const readPhysical = (address: number, length: number) => {
    try {
      return board.ram.memory.read(address, length);
    } catch (error) {
      if (error instanceof GuestMemoryError) return undefined;
      throw error;
    }
  };
  return {
    backends: () => backends,
    ramBlocks: () => ramBlocks(board),
    addressSpaces: () => addressSpaces(board),
    size: board.ram.main.usedLength,
    readPhysical,
    translate: (cpu, address) =>
      board.machine.whileParked(() => translate(vcpuOf(board, cpu), address)),
  };
}

function objectTree(
  config: VirtualMachineConfig,
  cpus: CpuControl,
  backends: readonly MemoryBackendInfo[],
): ObjectTree {
  const tree = new ObjectTree();
  const { machine } = config;
  const constant = (type: string, value: string | boolean | number) => ({ type, get: () => value });
  tree.add("/machine", {
    type: `${machine.type}-machine`,
    properties: machine.type !== "microvm" ? {} : {
      acpi: constant("OnOffAuto", machine.acpi),
      pit: constant("OnOffAuto", machine.pit),
      pic: constant("OnOffAuto", machine.pic),
      rtc: constant("OnOffAuto", machine.rtc),
      ioapic2: constant("OnOffAuto", machine.ioapic2),
      "memory-backend": constant("link<memory-backend>", `/objects/${machine.memoryBackend}`),
      "aux-ram-share": constant("bool", machine.auxRamShare),
      "dump-guest-core": constant("bool", machine.dumpGuestCore),
      "mem-merge": constant("bool", machine.memoryMerge),
      "suppress-vmdesc": constant("bool", machine.suppressVmdesc),
    },
  });
  for (const { path, type } of cpus.list()) tree.add(path, { type });
  for (const backend of backends) {
    const object = config.objects.find((candidate) => candidate.id === backend.id);
    const kind = object?.type === "memory-backend" ? object.kind : "ram";
    tree.add(`/objects/${backend.id}`, {
      type: `memory-backend-${kind}`,
      properties: {
        size: constant("int", backend.size),
        share: constant("bool", backend.share),
        merge: constant("bool", backend.merge),
        dump: constant("bool", backend.dump),
        prealloc: constant("bool", backend.prealloc),
        reserve: constant("bool", backend.reserve),
      },
    });
  }
  return tree;
}
