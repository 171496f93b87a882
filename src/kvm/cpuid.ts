/**
 * The guest's CPUID: what KVM supports on this host, with the topology of this machine. Leaves and
 * bits: Intel SDM volume 2 (CPUID), AMD APM volume 3 appendix E, Linux Documentation/virt/kvm/x86.
 */
import type { CpuidEntry } from "./kvm.ts";

/** A single flag of the CPUID, by QEMU's names for `-cpu`. */
interface Feature {
  readonly function: number;
  readonly index: number;
  readonly register: "eax" | "ebx" | "ecx" | "edx";
  readonly bit: number;
}

function bits(
  leaf: number,
  register: Feature["register"],
  names: Readonly<Record<string, number>>,
  index = 0,
): [string, Feature][] {
  return Object.entries(names).map((
    [name, bit],
  ) => [name, { function: leaf, index, register, bit }]);
}

/** Flags that -cpu may turn on or off with +name, -name, name=on|off. */
const features: ReadonlyMap<string, Feature> = new Map([
  ...bits(1, "ecx", {
    "pni": 0,
    "pclmulqdq": 1,
    "vmx": 5,
    "ssse3": 9,
    "fma": 12,
    "cx16": 13,
    "pcid": 17,
    "sse4.1": 19,
    "sse4.2": 20,
    "x2apic": 21,
    "movbe": 22,
    "popcnt": 23,
    "tsc-deadline": 24,
    "aes": 25,
    "xsave": 26,
    "avx": 28,
    "f16c": 29,
    "rdrand": 30,
    "hypervisor": 31,
  }),
  ...bits(1, "edx", { "tsc": 4, "pae": 6, "apic": 9, "sep": 11, "pge": 13, "mmx": 23, "sse2": 26 }),
  ...bits(7, "ebx", {
    "fsgsbase": 0,
    "tsc-adjust": 1,
    "bmi1": 3,
    "avx2": 5,
    "smep": 7,
    "bmi2": 8,
    "erms": 9,
    "invpcid": 10,
    "avx512f": 16,
    "rdseed": 18,
    "adx": 19,
    "smap": 20,
  }),
  ...bits(7, "ecx", { "umip": 2, "pku": 3, "la57": 16, "rdpid": 22 }),
  ...bits(0x80000001, "ecx", { "svm": 2, "abm": 5, "topoext": 22 }),
  ...bits(0x80000001, "edx", { "nx": 20, "pdpe1gb": 26, "rdtscp": 27, "lm": 29 }),
  ...bits(0x80000007, "edx", { "invtsc": 8 }),
  ...bits(0x40000001, "eax", {
    "kvmclock": 3,
    "kvm-asyncpf": 4,
    "kvm-steal-time": 5,
    "kvm-pv-eoi": 6,
    "kvm-poll-control": 12,
    "kvm-asyncpf-int": 14,
  }),
]);

/** True if `name` is a flag that {@linkcode guestCpuid} knows. */
export function isCpuFeature(name: string): boolean {
  return features.has(name);
}

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

/** Turns a flag off, or on if the host supports it. */
function setFeature(
  table: MutableEntry[],
  supported: readonly CpuidEntry[],
  name: string,
  on: boolean,
): void {
  const feature = features.get(name);
  if (!feature) throw new Error(`Property '.${name}' not found`);
  const isLeaf = (entry: CpuidEntry) =>
    entry.function === feature.function && entry.index === feature.index;
  const entry = table.find(isLeaf);
  const host = supported.find(isLeaf);
  if (!entry) return;
  const mask = (1 << feature.bit) >>> 0;
  const { register } = feature;
  if (!on) entry[register] = (entry[register] & ~mask) >>> 0;
  else if (host && (host[register] & mask) !== 0) entry[register] = (entry[register] | mask) >>> 0;
}
