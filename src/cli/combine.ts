/** Puts together what the subjects of the command line say, and checks what spans several of them. */
import { OptionError } from "../configuration/errors.ts";
import type { CommandLine } from "./command_line.ts";
import type { DeviceConfig } from "../configuration/device_models.ts";
import type { GlobalProperty } from "../configuration/machine.ts";
import type { ObjectConfig } from "../configuration/object.ts";
import type { VirtualMachineConfig } from "../configuration/virtual_machine.ts";
import { isCpuClass } from "./options/accelerator.ts";
import type { MachineParts } from "./options/machine.ts";
import { isDeviceClass, virtioMmio } from "./options/device.ts";
import type { DeviceDependencies, Image } from "./options/device_references.ts";

/** The name of the RAM that no memory backend gives. */
const defaultRam = "microvm.ram";
/** Transports for virtio devices that the board has at most. */
const mostTransports = 24;

/** The configuration that all options together ask for. */
export function combine(commandLine: CommandLine): VirtualMachineConfig {
  const { machine, accelerator, objects, block, network, characters, guest, process } = commandLine;
  const { globals } = guest;
  warnOfGlobals(globals, commandLine.warnings);
  const parts = machine.finish({
    headless: process.nographic,
    virtioMmio: virtioMmio(globals),
    backendSize: (id) => objects.backendSize(id),
  });
  const images = block.finish();
  const networks = network.finish();
  const characterParts = characters.finish({
    createDefaults: !process.noDefaults,
    nographic: process.nographic,
    daemonize: process.daemonize,
  });
  const notices: string[] = [];
  if (parts.machine.type === "microvm" && characterParts.serialPorts.length > 1) {
    notices.push("warning: the board has one serial port: further -serial lead nowhere");
  }
  const allObjects = withMemory(objects.finish(), parts);
  checkObjects(allObjects, characterParts.chardevs);
  notices.push(...unusedMemory(allObjects, parts.machine));
  const dependencies: DeviceDependencies = {
    images: new Map<string, Image>([
      ...images.drives.map(({ id, node }) =>
        [id, { kind: node === undefined ? "empty" : "drive" }] as const
      ),
      ...images.nodeNames.map((name) => [name, { kind: "node" }] as const),
    ]),
    netdevs: new Set(networks.netdevs.map(({ id }) => id)),
    chardevs: new Set(characterParts.chardevs.map(({ id }) => id)),
    objects: new Map(allObjects.map(({ id, type }) => [id, type])),
    transports: parts.machine.type === "microvm" ? mostTransports : 0,
  };
  const devices = commandLine.devices.finish(globals, dependencies);
  const times = guest.finish();
  notices.push(...unconnected(devices, networks.netdevs));
  if (parts.machine.type === "microvm") {
    const { kernel, firmware } = parts.boot;
    const bootsFromDisk = kernel === undefined && firmware === undefined;
    notices.push(...block.checkUse(usedDrives(devices), bootsFromDisk));
  }
  if (times.clock.slewLostTicks && parts.machine.type === "microvm" && parts.machine.rtc === "on") {
    notices.push("warning: -rtc driftfix=slew: lost ticks are not made up for");
  }
  // Where QEMU's test library listens, QEMU says nothing of these.
  if (characterParts.qtest === undefined) commandLine.warnings.push(...notices);
  return {
    machine: parts.machine.type === "none"
      ? parts.machine
      : { ...parts.machine, memoryBackend: parts.machine.memoryBackend ?? defaultRam },
    boot: parts.boot,
    memory: parts.memory,
    topology: parts.topology,
    accelerators: accelerator.accelerators(machine.accelerators()),
    cpu: accelerator.cpu(globals),
    objects: allObjects,
    ...characterParts,
    monitors: [
      ...characterParts.monitors,
      ...allObjects.filter((object) => object.type === "monitor"),
    ],
    drives: images.drives,
    blockNodes: images.blockNodes,
    ...networks,
    devices,
    ...times,
    ...commandLine.migration.finish(),
    ...process.finish(guest.processName()),
    warnings: commandLine.warnings,
  };
}

/** The drives that devices take. */
function usedDrives(devices: readonly DeviceConfig[]): ReadonlySet<string> {
  return new Set(
    devices.flatMap((device) =>
      device.driver === "virtio-blk-device" && device.properties.drive !== undefined
        ? [device.properties.drive]
        : []
    ),
  );
}

/** Warnings of network cards and backends that nothing is at the other end of. */
function unconnected(
  devices: readonly DeviceConfig[],
  netdevs: VirtualMachineConfig["netdevs"],
): readonly string[] {
  const cards = devices.filter((device) => device.driver === "virtio-net-device");
  const used = new Set(cards.map(({ properties }) => properties.netdev));
  const backends = netdevs.filter(({ id }) => !used.has(id)).map(({ id }) => `netdev ${id}`);
  const nics = cards.flatMap(({ id, driver, properties }, index) =>
    properties.netdev === undefined ? [`nic ${id ?? `${driver}.${index}`}`] : []
  );
  return [...backends, ...nics].map((end) => `warning: ${end} has no peer`);
}

/** Properties of the board's devices that may be given the value that they have. */
const fixedProperties: ReadonlySet<string> = new Set([
  "kvm-pit.lost_tick_policy=delay",
  "mc146818rtc.lost_tick_policy=discard",
]);

/** Classes of the board's own devices, whose properties cannot be changed. */
const boardClasses =
  /^(?:acpi-ged.*|apic.*|fw_cfg.*|i8259|ioapic.*|isa-.*|kvm-.*|kvmclock|mc146818rtc|serial)$/;

/** Warns of -global for what is not there, and refuses it for what cannot be changed. */
function warnOfGlobals(globals: readonly GlobalProperty[], warnings: string[]): void {
  for (const { driver, property, value } of globals) {
    const known = driver === "migration" || driver === "virtio-mmio" || isDeviceClass(driver) ||
      isCpuClass(driver);
    if (known || fixedProperties.has(`${driver}.${property}=${value}`)) continue;
    if (boardClasses.test(driver)) {
      throw new OptionError(
        `-global ${driver}.${property}=${value}: not available: ` +
          "the board's own devices have no properties; use those of -machine",
      );
    }
    warnings.push(`warning: global ${driver}.${property} has invalid class name`);
  }
}

/** The objects with the machine's defaults for memory, and its RAM if no object is that. */
function withMemory(
  objects: readonly ObjectConfig[],
  parts: MachineParts,
): readonly ObjectConfig[] {
  const { machine, memory, memoryPath, memoryPreallocate } = parts;
  if (machine.type === "none") return objects;
  const { memoryBackend, memoryMerge, dumpGuestCore } = machine;
  const result = objects.map((object): ObjectConfig => {
    if (object.type !== "memory-backend") return object;
    const prealloc = object.prealloc || memoryPreallocate;
    return { merge: memoryMerge, dump: dumpGuestCore, ...object, prealloc };
  });
  if (memoryBackend !== undefined) {
    if (memoryPath === undefined) return result;
    throw new OptionError("'-mem-path' can't be used together with '-machine memory-backend'");
  }
  if (objects.some(({ id }) => id === defaultRam)) {
    throw new OptionError(
      `object's id '${defaultRam}' is reserved for the default RAM backend, ` +
        "it can't be used for any other purposes",
      "Change the object's 'id' to something else or disable automatic creation of the default " +
        `RAM backend by setting 'memory-backend=${defaultRam}' with '-machine'.`,
    );
  }
  const common = {
    type: "memory-backend",
    id: defaultRam,
    size: memory.size,
    share: false,
    prealloc: memoryPreallocate,
    merge: memoryMerge,
    dump: dumpGuestCore,
    alignment: 0,
  } as const;
  const ram: ObjectConfig = memoryPath === undefined ? { ...common, kind: "ram" } : {
    ...common,
    kind: "file",
    path: memoryPath,
    offset: 0,
    readOnly: false,
    discardData: false,
  };
  return [...result, ram];
}

/** Warnings of memory that is not the guest's RAM, which is not made at all. */
function unusedMemory(
  objects: readonly ObjectConfig[],
  machine: MachineParts["machine"],
): readonly string[] {
  const used = machine.type === "none" ? undefined : machine.memoryBackend ?? defaultRam;
  return objects.flatMap(({ type, id }) =>
    type !== "memory-backend" || id === used
      ? []
      : [`warning: nothing uses the memory '${id}': name it with '-machine memory-backend=${id}'`]
  );
}

/** Checks what objects name. */
function checkObjects(
  objects: readonly ObjectConfig[],
  chardevs: VirtualMachineConfig["chardevs"],
): void {
  const ids = new Set(chardevs.map(({ id }) => id));
  for (const object of objects) {
    if (object.type === "monitor" && !ids.has(object.chardev)) {
      throw new OptionError(`chardev "${object.chardev}" not found`);
    }
    if (object.type === "rng-egd" && !ids.has(object.chardev)) {
      throw new OptionError(`Device '${object.chardev}' not found`);
    }
  }
}
