/** The board, its accelerator, CPUs and memory, as -machine, -accel, -cpu, -smp and -m ask for them. */

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

/** -global, in the order given. */
export interface GlobalProperty {
  readonly driver: string;
  readonly property: string;
  readonly value: string;
}
