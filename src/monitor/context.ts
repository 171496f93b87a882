/** What monitor commands need of the rest of molt, one small interface per subject. */
import type { Chardev } from "../backends/chardev.ts";
import type { ChardevOptions } from "../configuration/chardev.ts";
import type { ChardevInfo } from "../backends/chardevs.ts";
import type { AnnounceChoice, AnnounceParameters } from "../guest/announcements.ts";
import type { DescriptorStore } from "../backends/descriptor_store.ts";
import type { RunState } from "../machine/run_state.ts";
import type { CapabilityName } from "../migration/capabilities.ts";
import type { PreflightResult } from "../migration/cpr/preflight/check.ts";
import type { MigrationInformation } from "../migration/information.ts";
import type { ChannelsRequest } from "../migration/migration.ts";
import type { MigrationParameters } from "../migration/parameters.ts";
import type { MigrationStatusName } from "../qapi/names.ts";
import type { UpdateQuery } from "./events.ts";
import type { ObjectTree } from "./object_tree.ts";

/** The machine as a whole: whether it runs. */
export interface MachineControl {
  status(): { status: RunState; running: boolean };
  /** Stops the guest; nothing happens to one that is stopped. */
  stop(): void | Promise<void>;
  /**
   * Runs the guest, or, where an incoming migration is awaited, has it run after that. Throws where
   * the run state does not allow it.
   */
  cont(): void;
  reset(): void;
  /** Presses the power button. */
  powerDown(): void;
  /** Interrupts every vCPU with an NMI. */
  injectNmi(): void;
  /** Wakes a suspended guest. Throws if the machine knows no suspend. */
  wakeUp(): void;
  /** Ends the process, after what is under way. */
  quit(): void;
  /** Changes what happens when the guest resets or shuts itself down. */
  setEndPolicy(change: { readonly noReboot?: boolean; readonly noShutdown?: boolean }): void;
}

/** Who this machine is. */
export interface Identity {
  /** -name */
  readonly name: string | undefined;
  /** -uuid, or all zeros. */
  readonly uuid: string;
  /** This program, as query-version's `package`: `molt 0.2.0 build 1f2e3d4`. */
  readonly package: string;
}

/** A vCPU. */
export interface CpuInfo {
  readonly index: number;
  /** Of the host's thread that runs it. */
  readonly threadId: number;
  /** The object's type, such as `host-x86_64-cpu`. */
  readonly type: string;
  /** Its place in the object tree. */
  readonly path: string;
  readonly socketId: number;
  readonly coreId: number;
  /** Of the hyperthread within its core. */
  readonly smtId: number;
}

/** A segment register's visible and hidden parts; `flags` are the descriptor's upper half. */
export interface SegmentInfo {
  readonly selector: number;
  readonly base: bigint;
  readonly limit: number;
  readonly flags: number;
}

/** A vCPU's registers. */
export interface CpuRegisters {
  /** RAX to R15 in the order of their numbers: RAX RCX RDX RBX RSP RBP RSI RDI R8 ... */
  readonly general: readonly bigint[];
  readonly rip: bigint;
  readonly rflags: bigint;
  readonly segments: Readonly<
    Record<"ES" | "CS" | "SS" | "DS" | "FS" | "GS" | "LDT" | "TR", SegmentInfo>
  >;
  readonly gdt: { readonly base: bigint; readonly limit: number };
  readonly idt: { readonly base: bigint; readonly limit: number };
  readonly cr0: bigint;
  readonly cr2: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  /** DR0 to DR3, DR6, DR7. */
  readonly debug: readonly bigint[];
  readonly halted: boolean;
}

/** The vCPUs. The machine may be running: registers are those of a moment. */
export interface CpuControl {
  list(): readonly CpuInfo[];
  registers(index: number): CpuRegisters;
}

/** A memory backend (-object memory-backend-...). */
export interface MemoryBackendInfo {
  readonly id: string;
  /** Bytes. */
  readonly size: number;
  readonly merge: boolean;
  readonly dump: boolean;
  readonly prealloc: boolean;
  readonly share: boolean;
  readonly reserve: boolean;
}

/** A RAM block as migration streams name it. */
export interface RamBlockInfo {
  readonly name: string;
  readonly pageSize: number;
  /** In the space of all RAM blocks. */
  readonly offset: number;
  /** Bytes. */
  readonly used: number;
  readonly total: number;
  readonly hostAddress: bigint;
  readonly readOnly: boolean;
}

/** A range of an address space and what answers there. */
export interface MemoryRegionInfo {
  readonly name: string;
  readonly kind: "ram" | "rom" | "i/o" | "container";
  readonly start: number;
  /** Bytes. */
  readonly length: number;
}

/** An address space as `info mtree` shows it. */
export interface AddressSpaceInfo {
  readonly name: string;
  readonly regions: readonly MemoryRegionInfo[];
}

/** The guest's memory. */
export interface MemoryControl {
  backends(): readonly MemoryBackendInfo[];
  ramBlocks(): readonly RamBlockInfo[];
  addressSpaces(): readonly AddressSpaceInfo[];
  /** Bytes of RAM the machine has (-m). */
  readonly size: number;
  /** Guest-physical memory; `undefined` where there is no RAM. */
  readPhysical(address: number, length: number): Uint8Array | undefined;
  /** The guest-physical address that vCPU `cpu` sees at `address`; `undefined` if none. */
  translate(cpu: number, address: bigint): number | undefined;
}

/** I/O ports, as the guest reaches those of devices outside the kernel. */
export interface PortControl {
  read(port: number, size: 1 | 2 | 4): number;
  write(port: number, size: 1 | 2 | 4, value: number): void;
}

/** Character devices; `Chardevs` is this. */
export interface ChardevControl {
  list(): readonly ChardevInfo[];
  find(id: string): Chardev | undefined;
  create(options: ChardevOptions): Promise<Chardev>;
  change(options: ChardevOptions): Promise<Chardev>;
  remove(id: string): void;
  /** Sends a serial line's break to the other end. */
  sendBreak(id: string): void;
}

/** A node of the block layer: a file, or a format over one. */
export interface BlockNodeInfo {
  readonly nodeName: string;
  /** `file`, `host_device`, `raw`, `null-co`. */
  readonly driver: string;
  readonly filename: string;
  readonly readOnly: boolean;
  /** False while the node has been handed to another process. */
  readonly active: boolean;
  /** -drive cache=: whether writes are cached, bypass the page cache, ignore flushes. */
  readonly cache: {
    readonly writeback: boolean;
    readonly direct: boolean;
    readonly noFlush: boolean;
  };
  readonly detectZeroes: "off" | "on" | "unmap";
  /** Bytes. */
  readonly virtualSize: number;
  readonly actualSize: number | undefined;
  /** Nodes under this one. */
  readonly children: readonly { readonly name: string; readonly nodeName: string }[];
}

/** What a disk did of one kind. */
export interface OperationTotals {
  readonly bytes: number;
  readonly operations: number;
  readonly failed: number;
  /** Requests that made no sense. */
  readonly invalid: number;
  /** ns. */
  readonly time: number;
}

/** A drive and the device that shows it to the guest. */
export interface BlockDeviceInfo {
  /** -drive id=, or empty. */
  readonly id: string;
  /** The device's id or path. */
  readonly qdev: string | undefined;
  /** The node-name of what is in it. */
  readonly inserted: string | undefined;
  readonly ioStatus: "ok" | "failed" | "nospace";
  readonly statistics: Readonly<Record<"read" | "write" | "flush" | "unmap", OperationTotals>>;
}

/** Disks. */
export interface BlockControl {
  devices(): readonly BlockDeviceInfo[];
  nodes(): readonly BlockNodeInfo[];
}

/** Which of a card's kinds of frames the guest wants. */
export type FrameChoice = "normal" | "none" | "all";

/** What the guest has a card let through. Addresses as `52:54:00:12:34:56`. */
export interface FrameFilterInfo {
  readonly address: string;
  readonly promiscuous: boolean;
  readonly multicast: FrameChoice;
  readonly unicast: FrameChoice;
  readonly vlan: FrameChoice;
  readonly broadcast: boolean;
  readonly multicastOverflow: boolean;
  readonly unicastOverflow: boolean;
  readonly vlans: readonly number[];
  readonly unicastTable: readonly string[];
  readonly multicastTable: readonly string[];
}

/** The host's side of a network (-netdev). */
export interface NetworkBackendInfo {
  readonly id: string;
  /** As `info network` shows it, such as `type=tap,ifname=tap0`. */
  readonly description: string;
}

/** A network card. */
export interface CardInfo {
  /** The device's id, or its driver's name and a number. */
  readonly name: string;
  readonly driver: string;
  readonly backend: NetworkBackendInfo | undefined;
  readonly filter: FrameFilterInfo;
}

/** Networks. */
export interface NetworkControl {
  cards(): readonly CardInfo[];
  /** Backends that no card uses. */
  unused(): readonly NetworkBackendInfo[];
  /** Announces the cards' place to the network. */
  announce(parameters: AnnounceParameters, choice: AnnounceChoice): void;
  /** Plugs or pulls the cable of a card, named by itself or by its backend. False: there is none. */
  setLink(name: string, up: boolean): boolean;
}

/** The memory balloon. */
export interface BalloonControl {
  /** Bytes of RAM that the guest has. */
  readonly actual: number;
  /** Asks the guest to get along with so many bytes. */
  setTarget(bytes: number): void;
}

/** An I/O thread (-object iothread). */
export interface IothreadInfo {
  readonly id: string;
  readonly threadId: number;
  /** Longest busy wait in ns. */
  readonly pollMaxNs: number;
}

/** A machine type as query-machines shows it. */
export interface MachineTypeInfo {
  readonly name: string;
  readonly maximumCpus: number;
  /** It can have ACPI tables. */
  readonly acpi: boolean;
  /** Absent if it has no CPU. */
  readonly defaultCpuType?: string;
  readonly defaultRamId: string;
}

/** What this program can do, whatever the machine. */
export interface Capabilities {
  /** Accelerators that are built in, and the one in use. */
  readonly accelerators: { readonly enabled: string; readonly present: readonly string[] };
  readonly machineTypes: readonly MachineTypeInfo[];
  /** True for a driver that -device knows. */
  isDeviceModel(driver: string): boolean;
}

/** Moving the machine to another process, host or file, and loading it; `Migration` is this. */
export interface MigrationControl {
  readonly parameters: MigrationParameters;
  /** Sets parameters, values being those of QMP: all of them, or none. */
  setParameters(given: Readonly<Record<string, unknown>>): void;
  /** Sets a parameter to what a person typed. */
  setParameterFromText(name: string, text: string): void;
  /** The lines of `info migrate_parameters`. */
  describeParameters(): readonly string[];
  setCapabilities(
    changes: readonly { readonly capability: CapabilityName; readonly state: boolean }[],
  ): void;
  listCapabilities(): { readonly capability: CapabilityName; readonly state: boolean }[];
  /** Starts; the outcome is reported by {@linkcode query}. Throws if it cannot start. */
  start(request: ChannelsRequest & { readonly resume?: boolean | undefined }): void;
  startIncoming(request: ChannelsRequest, exitOnError?: boolean): Promise<void>;
  cancel(): void;
  /** True while there are connections that {@linkcode yank} cuts. */
  readonly yankable: boolean;
  /** Cuts the connections of a migration: it fails. */
  yank(): void;
  continueFrom(status: MigrationStatusName): void;
  /** True while the machine is being moved away. */
  readonly underWay: boolean;
  /** Resolves when the latest attempt to move the machine away has ended. */
  readonly ended: Promise<void>;
  query(): MigrationInformation;
}

/** Live updates of this program under the guest. */
export interface UpdateControl {
  query(): UpdateQuery;
  /** Whether a program, with its arguments, would take the guest over. */
  check(command: readonly string[]): Promise<PreflightResult>;
  /** Gives a listening socket or the pid file another name. Throws if that is none of this process. */
  rename(from: string, to: string): void;
}

/** Everything that commands act on. */
export interface MonitorContext {
  readonly machine: MachineControl;
  readonly identity: Identity;
  readonly capabilities: Capabilities;
  readonly cpus: CpuControl;
  readonly memory: MemoryControl;
  readonly ports: PortControl;
  readonly block: BlockControl;
  readonly network: NetworkControl;
  /** Absent: the machine has none. */
  readonly balloon: BalloonControl | undefined;
  readonly iothreads: readonly IothreadInfo[];
  readonly chardevs: ChardevControl;
  readonly descriptors: DescriptorStore;
  readonly objects: ObjectTree;
  readonly migration: MigrationControl;
  readonly update: UpdateControl;
}
