/**
 * The guest's CPUID: what KVM supports on this host, with the topology of this machine. Leaves and
 * bits: Intel SDM volume 2 (CPUID), AMD APM volume 3 appendix E, Linux Documentation/virt/kvm/x86.
 */
import { type CpuidFeature, cpuidFeature, describeFeature } from "./cpuid_features.ts";
import type { CpuidEntry } from "./kvm.ts";

/** What the CPUID of a guest depends on besides the host. */
export interface CpuidOptions {
  /** Cores of the one package. */
  readonly cpus: number;
  /** Flags turned on (if the host has them) or off. */
  readonly flags: ReadonlyMap<string, boolean>;
  /** Whether the in-kernel local APIC has the TSC deadline timer (KVM_CAP_TSC_DEADLINE_TIMER). */
  readonly tscDeadline: boolean;
}

/** The CPUID table of vCPU `apicId`, from what KVM supports. */
export function guestCpuid(
  supported: readonly CpuidEntry[],
  options: CpuidOptions,
  apicId: number,
): CpuidEntry[] {
  const cores = options.cpus;
  const idBits = Math.ceil(Math.log2(cores));
  const table = supported
    .filter((entry) => entry.function !== 0xb && entry.function !== 0x1f)
    .map((entry) => withTopology({ ...entry }, cores, idBits, apicId, options));
  for (const level of [0, 1, 2]) {
    table.push(topologyLevel(level, cores, idBits, apicId));
  }
  for (const [name, on] of [["invtsc", false] as const, ...options.flags]) {
    setFeature(table, supported, name, on);
  }
  return table;
}

type MutableEntry = { -readonly [Key in keyof CpuidEntry]: CpuidEntry[Key] };

function withTopology(
  entry: MutableEntry,
  cores: number,
  idBits: number,
  apicId: number,
  options: CpuidOptions,
): MutableEntry {
  const HYPERVISOR = 0x80000000;
  const TSC_DEADLINE = 1 << 24;
  const MULTITHREADED = 1 << 28;
  switch (entry.function) {
    case 1:
      entry.ebx = ((entry.ebx & 0x0000ffff) | (cores << 16) | (apicId << 24)) >>> 0;
      entry.ecx = (entry.ecx | HYPERVISOR | (options.tscDeadline ? TSC_DEADLINE : 0)) >>> 0;
      entry.edx = (cores > 1 ? entry.edx | MULTITHREADED : entry.edx & ~MULTITHREADED) >>> 0;
      break;
    case 4:
      // Cache sharing and core count as if every cache were private to its core.
      if ((entry.eax & 0x1f) !== 0) {
        entry.eax = ((entry.eax & 0x3fff) | ((cores - 1) << 26)) >>> 0;
      }
      break;
    case 0x80000008:
      entry.ecx = ((entry.ecx & ~0xf0ff) | (idBits << 12) | (cores - 1)) >>> 0;
      break;
    case 0x8000001e:
      entry.eax = apicId;
      entry.ebx = apicId & 0xff;
      entry.ecx = 0;
      break;
  }
  return entry;
}

/** Leaf 0xb: level 0 threads (one a core), level 1 cores, level 2 ends the list. */
function topologyLevel(level: number, cores: number, idBits: number, apicId: number): CpuidEntry {
  const SIGNIFICANT_INDEX = 1;
  const types = [1, 2, 0] as const;
  const shifts = [0, idBits, 0] as const;
  const counts = [1, cores, 0] as const;
  return {
    function: 0xb,
    index: level,
    flags: SIGNIFICANT_INDEX,
    eax: shifts[level] ?? 0,
    ebx: counts[level] ?? 0,
    ecx: ((types[level] ?? 0) << 8) | level,
    edx: apicId,
  };
}

/** In leaf 0x80000001 an AMD processor repeats these bits of leaf 1's EDX. */
const AMD_REPEATED = 0x0183f3ff;

/** Turns a feature off, or on if the host supports it. */
function setFeature(
  table: MutableEntry[],
  supported: readonly CpuidEntry[],
  name: string,
  on: boolean,
): void {
  for (const feature of cpuidFeature(name)) {
    setBit(table, supported, feature, on);
    const repeated = feature.function === 1 && feature.register === "edx" &&
      (AMD_REPEATED & (1 << feature.bit)) !== 0 && isAmd(supported);
    if (repeated) setBit(table, supported, { ...feature, function: 0x80000001 }, on);
  }
}

function setBit(
  table: MutableEntry[],
  supported: readonly CpuidEntry[],
  feature: CpuidFeature,
  on: boolean,
): void {
  const entry = table.find((entry) => isLeafOf(feature, entry));
  if (entry === undefined) return;
  const mask = (1 << feature.bit) >>> 0;
  const { register } = feature;
  if (!on) entry[register] = (entry[register] & ~mask) >>> 0;
  else if (isSupported(supported, feature)) entry[register] = (entry[register] | mask) >>> 0;
}

function isLeafOf(feature: CpuidFeature, entry: CpuidEntry): boolean {
  return entry.function === feature.function && entry.index === (feature.index ?? 0);
}

function isSupported(supported: readonly CpuidEntry[], feature: CpuidFeature): boolean {
  const entry = supported.find((entry) => isLeafOf(feature, entry));
  return entry !== undefined && (entry[feature.register] & (1 << feature.bit)) !== 0;
}

/** AMD's and Hygon's processors: "Auth" and "Hygo" in EBX of leaf 0. */
function isAmd(supported: readonly CpuidEntry[]): boolean {
  const vendor = supported.find((entry) => entry.function === 0)?.ebx;
  return vendor === 0x68747541 || vendor === 0x6f677948;
}

/** The features that `flags` turn on although the host lacks them, in QEMU's words. */
export function missingFeatures(
  supported: readonly CpuidEntry[],
  flags: ReadonlyMap<string, boolean>,
): string[] {
  return [...flags].flatMap(([name, on]) =>
    cpuidFeature(name)
      .filter((feature) => on && !isAddedByUs(name) && !isSupported(supported, feature))
      .map((feature) => describeFeature(name, feature))
  );
}

/** Features that guests get although they are none of the host's processor. */
function isAddedByUs(name: string): boolean {
  return name === "hypervisor" || name === "tsc-deadline" || name === "ht";
}
