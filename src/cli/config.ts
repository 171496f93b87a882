/** What a command line asks for, as plain data: everything checked that can be without the host. */
import type { ChardevOptions } from "../backends/chardev_options.ts";
import type { MemoryBackendOptions } from "../memory/backend.ts";
import type { DeviceConfig } from "./device_models.ts";

export type { DeviceConfig };

/** What `-machine`, `-smp`, `-m`, ... together say of the board. */
export type MachineConfig =
  | MicrovmConfig
  /** `-machine none`: no board and no CPU; monitors only. */
  | { readonly type: "none" };

export type OnOffAuto = "on" | "off" | "auto";

/** The microvm board. `auto` is decided by the board, which knows the accelerator. */
export interface MicrovmConfig {
  readonly type: "microvm";
  readonly acpi: OnOffAuto;
  readonly pit: OnOffAuto;
  readonly pic: OnOffAuto;
  readonly rtc: OnOffAuto;
  readonly ioapic2: OnOffAuto;
  readonly isaSerial: boolean;
  /** Announce virtio-mmio devices on the kernel's command line. */
  readonly autoKernelCommandLine: boolean;
  readonly optionRoms: boolean;
  /** Firmware is informed that there is a display; off with -nographic. */
  readonly graphics: boolean;
  /** The id of the memory backend that is the main RAM; `microvm.ram` if none was named. */
  readonly memoryBackend: string;
  /** Auxiliary RAM (firmware, tables) is shared memory, which cpr-exec and cpr-transfer need. */
  readonly auxRamShare: boolean;
  readonly dumpGuestCore: boolean;
  readonly memoryMerge: boolean;
  /** Streams carry no description of themselves. */
  readonly suppressVmdesc: boolean;
  /** The registers of virtio-mmio transports. */
  readonly virtioMmio: { readonly legacy: boolean; readonly ioeventfd: boolean };
  /** ACPI tables' OEM fields. */
  readonly oemId?: string;
  readonly oemTableId?: string;
}

/** One `-accel`. The first that works is used; those that molt does not have cannot work. */
export type AcceleratorConfig =
  | KvmConfig
  /** No vCPU runs; a test drives the machine through `-qtest`. */
  | { readonly kind: "qtest" }
  | { readonly kind: "unavailable"; readonly name: string };

export interface KvmConfig {
  readonly kind: "kvm";
  readonly kernelIrqchip: "on" | "split";
  /** Entries in each vCPU's dirty ring, a power of two; 0: the dirty log is used. */
  readonly dirtyRingSize: number;
  /** Path of the KVM device. */
  readonly device: string;
}

/** The CPU model and what is turned on and off in it, in the order given. */
export interface CpuConfig {
  readonly model: string;
  readonly features: readonly CpuFeature[];
}

/** `+name`, `-name` or `name=value`; the first two are applied after all others, as in QEMU. */
export type CpuFeature =
  | { readonly kind: "plus" | "minus"; readonly name: string }
  | { readonly kind: "property"; readonly name: string; readonly value: string };

/** -smp. `sockets * dies * modules * cores * threads` is `maxCpus`. */
export interface CpuTopology {
  readonly cpus: number;
  readonly maxCpus: number;
  readonly sockets: number;
  readonly dies: number;
  readonly modules: number;
  readonly cores: number;
  readonly threads: number;
}

/** -m, in bytes. */
export interface MemoryConfig {
  readonly size: number;
  /** Slots and size that hot-plugged memory could have; the board has none. */
  readonly slots: number;
  readonly maximumSize: number;
}

/** -object. */
export type ObjectConfig =
  | MemoryBackendConfig
  | IothreadConfig
  | RngConfig
  | MonitorObjectConfig;

/** A memory backend: what to make, and how to map it. */
export type MemoryBackendConfig = { readonly type: "memory-backend" } & MemoryBackendOptions & {
  /** Alignment of the mapping in bytes; 0: the page size's. */
  readonly alignment: number;
};

export interface IothreadConfig {
  readonly type: "iothread";
  readonly id: string;
  /** Longest busy wait in ns, 0: none. */
  readonly pollMaxNs: number;
}

/** A source of random numbers for virtio-rng. */
export type RngConfig =
  | { readonly type: "rng-builtin"; readonly id: string }
  | { readonly type: "rng-random"; readonly id: string; readonly filename: string }
  | { readonly type: "rng-egd"; readonly id: string; readonly chardev: string };

/** A monitor as an object, which QEMU 11.1 prefers to -mon. */
export interface MonitorObjectConfig extends MonitorConfig {
  readonly type: "monitor";
  readonly id: string;
}

/** A monitor on a character device. */
export interface MonitorConfig {
  /** The character device's id. */
  readonly chardev: string;
  /** `readline` is HMP for people, `control` is QMP. */
  readonly mode: "readline" | "control";
  /** QMP's replies are indented. */
  readonly pretty: boolean;
}

/** What the guest starts from. */
export interface BootConfig {
  readonly kernel?: string;
  readonly initrd?: string;
  /** The kernel's command line. */
  readonly append?: string;
  /** Firmware image. Absent: the board's choice. */
  readonly firmware?: string;
  /** Drives in the order of -boot, as QEMU's letters. */
  readonly order?: string;
  readonly menu?: boolean;
  readonly splash?: string;
  /** Milliseconds. */
  readonly splashTime?: number;
  /** Milliseconds; -1: never. */
  readonly rebootTimeout?: number;
  readonly strict?: boolean;
}

/** What every block node says of itself. */
export interface BlockNodeOptions {
  readonly nodeName?: string;
  readonly readOnly: boolean;
  /** Opened read-only if writing is not possible. */
  readonly autoReadOnly: boolean;
  /** O_DIRECT. */
  readonly direct: boolean;
  /** Flushes are not passed on. */
  readonly noFlush: boolean;
  readonly discard: "ignore" | "unmap";
  readonly detectZeroes: "off" | "on" | "unmap";
  /** Other processes may write to the image. */
  readonly forceShare: boolean;
}

/** A block node: where bytes are, or what is made of those of another node. */
export type BlockNode =
  | BlockNodeOptions & {
    /** `file` from a -drive may be a block device too. */
    readonly driver: "file" | "host_device";
    readonly filename: string;
    readonly locking: OnOffAuto;
    readonly aio: "threads" | "native" | "io_uring";
  }
  | BlockNodeOptions & {
    readonly driver: "null-co";
    /** Bytes. */
    readonly size: number;
    readonly readZeroes: boolean;
    /** Each request's time. */
    readonly latencyNs: number;
  }
  | BlockNodeOptions & {
    /** The format that gives a part of a file to the guest as it is. */
    readonly driver: "raw";
    /** The node below: by name, or defined in place. */
    readonly file: string | BlockNode;
    /** Bytes. */
    readonly offset: number;
    /** Bytes. Absent: to the end. */
    readonly size?: number;
    /** No format was given and raw is a guess: an image that looks like another format is refused. */
    readonly probed: boolean;
  };

/** -blockdev: a node with a name, after all nodes that it names. */
export type BlockNodeConfig = BlockNode & { readonly nodeName: string };

/** What happens when a request fails; `enospc`: stop if the disk is full, else report. */
export type BlockErrorAction = "report" | "ignore" | "enospc" | "stop";

/** One -drive: an image and how errors in it are treated. A device takes it by `drive=ID`. */
export interface DriveConfig {
  readonly id: string;
  /** Absent: a drive without medium. */
  readonly node?: BlockNode;
  readonly media: "disk" | "cdrom";
  /** Its place among the drives; the lowest one is booted from. */
  readonly index: number;
  /** Writes are complete once they are in the host's cache. */
  readonly writeback: boolean;
  readonly writeError: BlockErrorAction;
  readonly readError: BlockErrorAction;
}

/** -netdev. */
export type NetdevConfig = { readonly id: string } & NetworkBackend;

export type NetworkBackend =
  | TapConfig
  /** A stream of length-prefixed frames: QEMU's `socket` in its stream forms, and `stream`. */
  | {
    readonly type: "stream";
    readonly server: boolean;
    readonly address: NetworkAddress;
    /** Milliseconds between attempts to connect again; 0: none. */
    readonly reconnectMs: number;
  }
  /** Datagrams, one frame each. */
  | {
    readonly type: "dgram";
    readonly local?: NetworkAddress;
    readonly remote?: NetworkAddress;
  };

/** A tap interface: a queue pair for each descriptor. */
export interface TapConfig {
  readonly type: "tap";
  readonly source:
    | {
      readonly kind: "interface";
      /** Absent: the kernel names it. */
      readonly name?: string;
      readonly queues: number;
      /** Programs run with the interface's name; `undefined`: none. */
      readonly script: string | undefined;
      readonly downscript: string | undefined;
    }
    | { readonly kind: "descriptors"; readonly names: readonly string[] };
  /** `auto`: used if the interface has it. */
  readonly vnetHeader: OnOffAuto;
  /** Bytes; absent: unlimited. */
  readonly sendBuffer?: number;
}

export type NetworkAddress =
  | { readonly kind: "inet"; readonly host: string; readonly port: string }
  | { readonly kind: "unix"; readonly path: string; readonly abstract: boolean }
  /** A descriptor's number, or the name getfd gave it. */
  | { readonly kind: "fd"; readonly name: string };

/** What a serial port or another fixed place is connected to. */
export type CharacterConnection =
  /** Nothing: the port does not exist. */
  | { readonly kind: "none" }
  /** The device of `chardevs` with this id. */
  | { readonly kind: "chardev"; readonly id: string };

/** -fw_cfg. */
export interface FirmwareItemConfig {
  readonly name: string;
  readonly content:
    | { readonly kind: "file"; readonly path: string }
    | { readonly kind: "string"; readonly text: string };
}

/** -global, in the order given. */
export interface GlobalProperty {
  readonly driver: string;
  readonly property: string;
  readonly value: string;
}

/** -rtc. */
export interface ClockConfig {
  readonly base:
    | { readonly kind: "utc" }
    | { readonly kind: "localtime" }
    /** Seconds since 1970 at the machine's start. */
    | { readonly kind: "date"; readonly seconds: number };
  readonly clock: "host" | "rt" | "vm";
  /** Lost ticks are made up for. */
  readonly slewLostTicks: boolean;
}

/** Where the guest's state comes from, if it does not start afresh. */
export interface IncomingConfig {
  readonly main:
    /** A monitor will say. */
    | { readonly kind: "defer" }
    | { readonly kind: "uri"; readonly uri: string }
    | { readonly kind: "channel"; readonly address: MigrationAddress };
  /** The channel of the CPR state. */
  readonly cpr?: MigrationAddress;
}

/** A migration channel's address as QMP and -incoming have it. */
export type MigrationAddress =
  | { readonly transport: "socket" } & MigrationSocketAddress
  | { readonly transport: "exec"; readonly args: readonly string[] }
  | { readonly transport: "file"; readonly filename: string; readonly offset: number };

export type MigrationSocketAddress =
  | {
    readonly type: "inet";
    readonly host: string;
    readonly port: string;
    /** The highest port to try. */
    readonly to?: number | undefined;
    readonly ipv4?: boolean | undefined;
    readonly ipv6?: boolean | undefined;
    readonly numeric?: boolean | undefined;
    readonly "keep-alive"?: boolean | undefined;
    /** Seconds, seconds, and a number. */
    readonly "keep-alive-idle"?: number | undefined;
    readonly "keep-alive-interval"?: number | undefined;
    readonly "keep-alive-count"?: number | undefined;
  }
  | {
    readonly type: "unix";
    readonly path: string;
    readonly abstract?: boolean | undefined;
    readonly tight?: boolean | undefined;
  }
  | { readonly type: "fd"; readonly str: string };

/** What follows from events in the guest: -action, -no-reboot, -no-shutdown. */
export interface ActionConfig {
  readonly reboot: "reset" | "shutdown";
  readonly shutdown: "poweroff" | "pause";
  readonly panic: "pause" | "shutdown" | "exit-failure" | "none";
  readonly watchdog:
    | "reset"
    | "shutdown"
    | "poweroff"
    | "inject-nmi"
    | "pause"
    | "debug"
    | "none";
}

/** How the process runs. */
export interface ProcessConfig {
  readonly daemonize: boolean;
  readonly pidFile?: string;
  /** The process's name as ps shows it. */
  readonly name?: string;
  /** Threads are named after what they do. */
  readonly debugThreads: boolean;
  readonly exitWithParent: boolean;
}

/** -msg, -D, -d, -trace. */
export interface LogConfig {
  /** Messages start with the time. */
  readonly timestamp: boolean;
  /** Messages start with the guest's name. */
  readonly guestName: boolean;
  /** -D: where -d and -trace log to. */
  readonly file?: string;
  /** Files with a pattern of trace events on each line. */
  readonly traceFiles: readonly string[];
}

/** -add-fd: a descriptor that this process inherited, put into a set. */
export interface InheritedDescriptor {
  readonly fd: number;
  readonly set: number;
  readonly opaque?: string;
}

/** Everything a command line asks for. */
export interface VirtualMachineConfig {
  readonly machine: MachineConfig;
  /** In the order to try. */
  readonly accelerators: readonly AcceleratorConfig[];
  readonly cpu: CpuConfig;
  readonly topology: CpuTopology;
  readonly memory: MemoryConfig;
  readonly objects: readonly ObjectConfig[];
  readonly boot: BootConfig;

  /** In the order in which they are made. */
  readonly chardevs: readonly ChardevOptions[];
  /** By port number. The board has one port; devices of further ones are connected to nothing. */
  readonly serialPorts: readonly CharacterConnection[];
  /** Those of -object too. */
  readonly monitors: readonly MonitorConfig[];

  readonly drives: readonly DriveConfig[];
  readonly blockNodes: readonly BlockNodeConfig[];
  readonly netdevs: readonly NetdevConfig[];
  readonly devices: readonly DeviceConfig[];
  readonly firmwareItems: readonly FirmwareItemConfig[];
  readonly globals: readonly GlobalProperty[];

  readonly name?: string;
  /** Lower case with dashes. */
  readonly uuid?: string;
  readonly clock: ClockConfig;
  readonly actions: ActionConfig;
  /** -S. */
  readonly startPaused: boolean;
  readonly incoming?: IncomingConfig;
  readonly onlyMigratable: boolean;
  /** The control channel of a test: its character device, and a file for its log. */
  readonly qtest?: { readonly chardev: string; readonly log?: string };

  readonly process: ProcessConfig;
  readonly log: LogConfig;
  readonly inheritedDescriptors: readonly InheritedDescriptor[];
  /** Directories to look for firmware in, in order. */
  readonly dataDirectories: readonly string[];
  /** Warnings that do not stop the machine, without the program's name. */
  readonly warnings: readonly string[];
}
