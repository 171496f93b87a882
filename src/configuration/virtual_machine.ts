/** What a command line asks for, as plain data: everything checked that can be without the host. */
import type { ChardevOptions } from "./chardev.ts";
import type { BlockNodeConfig, DriveConfig } from "./block.ts";
import type { CharacterConnection, MonitorConfig } from "./character.ts";
import type { DeviceConfig } from "./device_models.ts";
import type { ActionConfig, BootConfig, ClockConfig, FirmwareItemConfig } from "./guest.ts";
import type {
  AcceleratorConfig,
  CpuConfig,
  CpuTopology,
  GlobalProperty,
  MachineConfig,
  MemoryConfig,
} from "./machine.ts";
import type { IncomingConfig } from "./migration.ts";
import type { NetdevConfig } from "./network.ts";
import type { ObjectConfig } from "./object.ts";
import type { InheritedDescriptor, LogConfig, ProcessConfig } from "./process.ts";

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
