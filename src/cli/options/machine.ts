/** The board: -machine, and the options that are short for its properties. */
import { InformationRequest } from "../information.ts";
import { OptionError } from "../../configuration/errors.ts";
import {
  describeProperties,
  given,
  integer,
  type PropertiesOf,
  type PropertyTable,
  size,
  text,
} from "../../configuration/property.ts";
import { readProperties, readSize } from "../property_reader.ts";
import { mergeTrees, parseKeyValues, type TreeObject } from "../syntax.ts";
import {
  type Occurrence,
  type Option,
  type OptionGroup,
  readCheckedList,
  readTree,
  without,
} from "../option.ts";
import type { BootConfig } from "../../configuration/guest.ts";
import type { MemoryConfig, MicrovmConfig } from "../../configuration/machine.ts";
import {
  acceleratorProperties,
  bootProperties,
  commonProperties,
  machineTypes,
  microvmProperties,
} from "./machine_properties.ts";
import { completeTopology, topologyProperties } from "./topology.ts";
import type { CpuTopology } from "../../configuration/machine.ts";

/** The guest's RAM if nothing says otherwise. */
const defaultMemorySize = 128 * 1024 ** 2;
/** RAM sizes are rounded up to this. */
const memoryGranularity = 8192;

const memoryOptionProperties = {
  size: text("Memory at start; a number without suffix is in MiB"),
  slots: integer("uint64", "Slots for more memory"),
  maxmem: size("Maximum size"),
};

type CommonValues = PropertiesOf<typeof commonProperties>;

/** The board before its RAM is settled. */
type BoardConfig = Omit<MicrovmConfig, "memoryBackend"> & { readonly memoryBackend?: string };

/** What the machine's options say once all are read. */
export interface MachineParts {
  readonly machine: BoardConfig | { readonly type: "none" };
  readonly boot: BootConfig;
  readonly memory: MemoryConfig;
  readonly topology: CpuTopology;
  /** -mem-path: the file that is to be the RAM. */
  readonly memoryPath?: string;
  /** -mem-prealloc. */
  readonly memoryPreallocate: boolean;
}

/** What the machine needs to know of other options. */
export interface MachineDependencies {
  /** Firmware is informed that there is no display. */
  readonly headless: boolean;
  readonly virtioMmio: { readonly "force-legacy": boolean; readonly ioeventfd: boolean };
  /** A memory backend's size in bytes. */
  readonly backendSize: (id: string) => number | undefined;
}

/** What the machine's options say of accelerators. */
export interface MachineAccelerators {
  /** `kvm:tcg`. */
  readonly names?: string;
  readonly kernelIrqchip?: string;
}

export class MachineOptions implements OptionGroup {
  readonly title = "Machine options";
  #tree: TreeObject = {};
  /** The last option that gave each property. */
  readonly #given = new Map<string, string>();
  #memoryPath: string | undefined;
  #memoryPreallocate = false;

  readonly options: readonly Option[] = [
    {
      names: ["machine", "M"],
      argument: "[type=]name[,prop=value[,...]]",
      help: ["select the machine ('-machine help' for a list, '-machine NAME,help' for more)"],
      apply: (occurrence) => this.#machine(occurrence),
    },
    {
      names: ["smp"],
      argument: "[[cpus=]n][,maxcpus=maxcpus][,sockets=sockets][,cores=cores][,threads=threads]",
      help: ["set the number of CPUs to 'n' [default=1] and how they are arranged"],
      apply: (occurrence) => this.#nested("smp", topologyProperties, occurrence, "cpus"),
    },
    {
      names: ["m"],
      argument: "[size=]megs[,slots=n,maxmem=size]",
      help: ["set the size of guest RAM, in MiB or with a suffix [default=128]"],
      apply: (occurrence) => this.#memory(occurrence),
    },
    {
      names: ["mem-path"],
      argument: "FILE",
      help: ["provide backing storage for guest RAM"],
      apply: ({ argument }) => {
        this.#memoryPath = argument;
      },
    },
    {
      names: ["mem-prealloc"],
      help: ["preallocate guest memory"],
      apply: () => {
        this.#memoryPreallocate = true;
      },
    },
    {
      names: ["boot"],
      argument: "[order=drives][,once=drives][,menu=on|off][,splash=sp_name]" +
        "[,splash-time=sp_time][,reboot-timeout=rb_time][,strict=on|off]",
      help: ["what firmware boots from: 'drives' are letters, hard disk (c), network (n), ..."],
      apply: (occurrence) => this.#nested("boot", bootProperties, occurrence, "order"),
    },
    this.#shorthand("kernel", "bzImage", "use 'bzImage' (or an ELF image with PVH) as kernel"),
    this.#shorthand("append", "cmdline", "use 'cmdline' as kernel command line"),
    this.#shorthand("initrd", "file", "use 'file' as initial ram disk"),
    this.#shorthand("bios", "file", "set the file of the firmware", "firmware"),
    this.#shorthand("dtb", "file"),
    this.#shorthand("shim", "file"),
    { names: ["usb"], help: [], apply: ({ where }) => this.#merge(where, { usb: "on" }) },
  ];

  /** An option that is short for a property. */
  #shorthand(name: string, argument: string, help?: string, property = name): Option {
    return {
      names: [name],
      argument,
      help: help === undefined ? [] : [help],
      apply: ({ argument, where }) => this.#merge(where, { [property]: argument }),
    };
  }

  #merge(where: string, tree: TreeObject): void {
    for (const name of Object.keys(tree)) this.#given.set(name, where);
    this.#tree = mergeTrees(this.#tree, tree, where);
  }

  #machine({ argument, where }: Occurrence): void {
    const { tree, help } = parseKeyValues(argument, where, "type");
    this.#merge(where, tree);
    const type = this.#tree["type"];
    if (help && type === undefined || type === "help" || type === "?") {
      throw new InformationRequest(
        [
          "Supported machines are:",
          ...machineTypes.map(({ name, description }) => `${name.padEnd(20)} ${description}`),
        ].join("\n"),
      );
    }
    if (help) {
      const table = this.#type() === "none" ? commonProperties : microvmProperties;
      throw new InformationRequest(
        `${this.#type()}-machine options:\n${describeProperties(table)}`,
      );
    }
  }

  #nested(
    name: "smp" | "boot",
    table: PropertyTable,
    occurrence: Occurrence,
    impliedKey: string,
  ): void {
    const tree = readTree(table, occurrence, { title: `${name}-opts`, impliedKey });
    this.#merge(occurrence.where, { [name]: tree });
  }

  #memory(occurrence: Occurrence): void {
    const { where } = occurrence;
    const options = readCheckedList(memoryOptionProperties, occurrence, {
      title: "memory",
      impliedKey: "size",
    });
    const bytes = options.size === undefined
      ? undefined
      : readSize(options.size, "size", { dialect: "options", where }, "M");
    this.#merge(where, {
      memory: given({
        size: bytes?.toString(),
        slots: options.slots?.toString(),
        "max-size": options.maxmem?.toString(),
      }),
    });
  }

  /** A property that must be text where it is given. */
  #text(name: string): string | undefined {
    const value = this.#tree[name];
    if (value === undefined || typeof value === "string") return value;
    throw new OptionError(`Invalid parameter type for '${name}', expected: string`);
  }

  #type(): "microvm" | "none" {
    const type = this.#text("type") ?? "microvm";
    for (const { name } of machineTypes) if (name === type) return name;
    throw new OptionError(
      `unsupported machine type: "${type}"`,
      "Use -machine help to list supported machines",
    );
  }

  /** What the machine's properties say of accelerators. */
  accelerators(): MachineAccelerators {
    return given({
      names: this.#text("accel"),
      kernelIrqchip: this.#text("kernel-irqchip"),
    });
  }

  /** What all the options together say. */
  finish({ headless, virtioMmio, backendSize }: MachineDependencies): MachineParts {
    const type = this.#type();
    const values = without(
      headless ? { ...this.#tree, graphics: "off" } : this.#tree,
      "type",
      ...acceleratorProperties,
    );
    const source = {
      dialect: "keyval",
      where: "",
      owner: `${type}-machine`,
      option: (name: string) => this.#given.get(name) ?? "",
    } as const;
    if (type === "none") {
      const common = readProperties(commonProperties, source, values);
      if (common.kernel !== undefined) {
        throw new OptionError("The -kernel parameter is not supported by machine 'none'");
      }
      return { machine: { type }, ...this.#parts(common, type, backendSize) };
    }
    const properties = readProperties(microvmProperties, source, values);
    return {
      machine: microvm(properties, virtioMmio),
      ...this.#parts(properties, type, backendSize),
    };
  }

  #parts(
    common: CommonValues,
    type: "microvm" | "none",
    backendSize: (id: string) => number | undefined,
  ): Omit<MachineParts, "machine"> {
    return {
      boot: boot(common),
      memory: memory(common, backendSize),
      topology: completeTopology(common.smp ?? {}, type),
      memoryPreallocate: this.#memoryPreallocate,
      ...given({ memoryPath: this.#memoryPath }),
    };
  }
}

function microvm(
  properties: PropertiesOf<typeof microvmProperties>,
  virtioMmio: MachineDependencies["virtioMmio"],
): BoardConfig {
  const oem = [["x-oem-id", 6], ["x-oem-table-id", 8]] as const;
  for (const [name, limit] of oem) {
    if ((properties[name] ?? "").length > limit) {
      throw new OptionError(`User specified ${name} value is bigger than ${limit} bytes in size`);
    }
  }
  const oemId = properties["x-oem-id"];
  const oemTableId = properties["x-oem-table-id"];
  return {
    type: "microvm",
    acpi: properties.acpi,
    pit: properties.pit,
    pic: properties.pic,
    rtc: properties.rtc,
    ioapic2: properties.ioapic2,
    isaSerial: properties["isa-serial"],
    autoKernelCommandLine: properties["auto-kernel-cmdline"],
    optionRoms: properties["x-option-roms"],
    graphics: properties.graphics,
    virtioMmio: { legacy: virtioMmio["force-legacy"], ioeventfd: virtioMmio.ioeventfd },
    auxRamShare: properties["aux-ram-share"],
    dumpGuestCore: properties["dump-guest-core"],
    memoryMerge: properties["mem-merge"],
    suppressVmdesc: properties["suppress-vmdesc"],
    ...given({ memoryBackend: properties["memory-backend"], oemId, oemTableId }),
  };
}

function memory(
  common: CommonValues,
  backendSize: (id: string) => number | undefined,
): MemoryConfig {
  const { size: wanted, slots = 0, "max-size": maximum } = common.memory ?? {};
  const asked = Math.ceil((wanted ?? 0) / memoryGranularity) * memoryGranularity;
  let bytes = asked || defaultMemorySize;
  const backend = common["memory-backend"];
  if (backend !== undefined) {
    const available = backendSize(backend);
    if (available === undefined) throw new OptionError(`Memory backend '${backend}' not found`);
    if (asked !== 0 && asked !== available) {
      throw new OptionError(
        "Machine memory size does not match the size of the memory backend",
      );
    }
    bytes = available;
  }
  if (maximum === undefined && slots > 0) {
    throw new OptionError("slots specified but no max-size");
  }
  if (maximum !== undefined && maximum < bytes) {
    throw new OptionError(
      `invalid value of maxmem: maximum memory size (0x${maximum.toString(16)}) ` +
        `must be at least the initial memory size (0x${bytes.toString(16)})`,
    );
  }
  return { size: bytes, slots, maximumSize: maximum ?? bytes };
}

/** Checks a list of boot drives: letters from a to p, each once. */
function checkBootOrder(order: string): void {
  for (const [index, letter] of [...order].entries()) {
    if (letter < "a" || letter > "p") throw new OptionError(`Invalid boot device '${letter}'`);
    if (order.indexOf(letter) < index) {
      throw new OptionError(`Boot device '${letter}' was given twice`);
    }
  }
}

function boot(common: CommonValues): BootConfig {
  const { kernel, initrd, append, firmware } = common;
  if (kernel === undefined) {
    if (append !== undefined && append !== "") {
      throw new OptionError("-append only allowed with -kernel option");
    }
    if (initrd !== undefined) throw new OptionError("-initrd only allowed with -kernel option");
  }
  const options = common.boot ?? {};
  checkBootOrder(options.order ?? "");
  checkBootOrder(options.once ?? "");
  if (options.once !== undefined) {
    throw new OptionError("no function defined to set boot device list for this architecture");
  }
  const splashTime = options["splash-time"];
  if (splashTime !== undefined && (splashTime < 0 || splashTime > 0xffff)) {
    throw new OptionError("splash-time is invalid,it should be a value between 0 and 65535");
  }
  const rebootTimeout = options["reboot-timeout"];
  if (rebootTimeout !== undefined && (rebootTimeout < -1 || rebootTimeout > 0xffff)) {
    throw new OptionError("reboot timeout is invalid,it should be a value between -1 and 65535");
  }
  const { order, menu, splash, strict } = options;
  return given({
    kernel,
    initrd,
    append,
    firmware,
    order,
    menu,
    splash,
    splashTime,
    rebootTimeout,
    strict,
  });
}
