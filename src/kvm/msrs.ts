/**
 * Model-specific registers of a vCPU's saved state. Indices: Intel SDM volume 4, AMD APM volume 2
 * appendix A, Linux arch/x86/include/uapi/asm/kvm_para.h.
 */
import { halvesOf } from "../vmstate/halves.ts";
import type { CpuState } from "./cpu_state.ts";
import { MsrList } from "./msr_list.ts";
import { msrName } from "./msr_names.ts";

const TSC = 0x10;
const TSC_DEADLINE = 0x6e0;
const MTRR_DEFAULT_TYPE = 0x2ff;
const MTRR_FIXED = [
  0x250,
  0x258,
  0x259,
  0x268,
  0x269,
  0x26a,
  0x26b,
  0x26c,
  0x26d,
  0x26e,
  0x26f,
] as const;
const MTRR_VARIABLE = 0x200;
const MTRR_VARIABLE_COUNT = 8;
const MCG_STATUS = 0x17a;
const MCG_CTL = 0x17b;
const MC_BANKS = 0x400;
/** CTL, STATUS, ADDR and MISC of 10 banks. */
const MC_REGISTERS = 40;

/** What registers hold after reset: one that this host's KVM does not have holds this for ever. */
export const msrReset = {
  sysenterCs: 0,
  sysenterEsp: 0n,
  sysenterEip: 0n,
  pat: 0x0007040600070406n,
  star: 0n,
  lstar: 0n,
  cstar: 0n,
  fmask: 0n,
  kernelgsbase: 0n,
  tscAux: 0n,
  vmHsave: 0n,
  tsc: 0n,
  tscAdjust: 0n,
  msrIa32MiscEnable: 1n,
  msrIa32FeatureControl: 0n,
  msrSmiCount: 0n,
  xss: 0n,
  specCtrl: 0n,
  virtSsbd: 0n,
  msrHwcr: 0n,
  wallClockMsr: 0n,
  systemTimeMsr: 0n,
  asyncPfEnMsr: 0n,
  asyncPfIntMsr: 0n,
  stealTimeMsr: 0n,
  pvEoiEnMsr: 0n,
  pollControlMsr: 1n,
  tscDeadline: 0n,
  umwait: 0,
  pkrs: 0,
} satisfies Partial<CpuState>;

/** Keys of the state whose value is one register. */
type Key64 = {
  [Key in keyof CpuState]-?: CpuState[Key] extends bigint | undefined ? Key : never;
}[keyof CpuState];
type Key32 = {
  [Key in keyof CpuState]-?: CpuState[Key] extends number | undefined ? Key : never;
}[keyof CpuState];

/** Registers of 64 bits, in the order in which they are set. */
const registers64: readonly (readonly [index: number, key: Key64])[] = [
  [0x175, "sysenterEsp"],
  [0x176, "sysenterEip"],
  [0x277, "pat"],
  [0xc0000081, "star"],
  [0xc0000082, "lstar"],
  [0xc0000083, "cstar"],
  [0xc0000084, "fmask"],
  [0xc0000102, "kernelgsbase"],
  [0xc0000103, "tscAux"],
  [0xc0010117, "vmHsave"],
  [TSC, "tsc"],
  [0x3b, "tscAdjust"],
  [0x1a0, "msrIa32MiscEnable"],
  [0x3a, "msrIa32FeatureControl"],
  [0x34, "msrSmiCount"],
  [0xda0, "xss"],
  [0x48, "specCtrl"],
  [0xc001011f, "virtSsbd"],
  [0xc0010015, "msrHwcr"],
  [0x4b564d00, "wallClockMsr"],
  [0x4b564d01, "systemTimeMsr"],
  [0x4b564d02, "asyncPfEnMsr"],
  [0x4b564d06, "asyncPfIntMsr"],
  [0x4b564d03, "stealTimeMsr"],
  [0x4b564d04, "pvEoiEnMsr"],
  [0x4b564d05, "pollControlMsr"],
  [TSC_DEADLINE, "tscDeadline"],
];

/** Registers of 32 bits. */
const registers32: readonly (readonly [index: number, key: Key32])[] = [
  [0x174, "sysenterCs"],
  [0xe1, "umwait"],
  [0x6e1, "pkrs"],
  [0x122, "tsxCtrl"],
];

/** Bits 51 down to the width of physical addresses: QEMU saves MTRR masks with these set. */
function maskTop(physicalBits: number): bigint {
  return ((1n << 52n) - 1n) & ~((1n << BigInt(physicalBits)) - 1n);
}

/** Reads and writes the registers that this host's KVM has. */
export class MsrTable {
  /** The registers to read for {@linkcode decode}, in its order. */
  readonly #list: MsrList;
  readonly #available: ReadonlySet<number>;
  readonly #read64: readonly (readonly [index: number, key: Key64])[];
  readonly #read32: readonly (readonly [index: number, key: Key32])[];
  readonly #top: bigint;
  /** The halves of {@linkcode MsrTable.#top}. */
  readonly #topHalves: readonly [low: number, high: number];
  /** IA32_MCG_CAP: banks and features of machine checks; 0 without them. */
  readonly machineCheck: bigint;

  /** `listed` is what KVM_GET_MSR_INDEX_LIST says; `physicalBits` the guest's address width. */
  constructor(listed: ReadonlySet<number>, physicalBits: number, machineCheck: bigint) {
    this.#top = maskTop(physicalBits);
    this.#topHalves = [Number(BigInt.asIntN(32, this.#top)), Number(this.#top >> 32n)];
    this.machineCheck = machineCheck;
    this.#read64 = registers64.filter(([index]) => listed.has(index));
    this.#read32 = registers32.filter(([index]) => listed.has(index));
    const range = (first: number, count: number) =>
      Array.from({ length: count }, (_, i) => first + i);
    const indices = [
      ...[...this.#read64, ...this.#read32].map(([index]) => index),
      ...[MTRR_DEFAULT_TYPE, ...MTRR_FIXED, ...range(MTRR_VARIABLE, 2 * MTRR_VARIABLE_COUNT)],
      ...(machineCheck === 0n ? [] : [MCG_STATUS, MCG_CTL, ...range(MC_BANKS, MC_REGISTERS)]),
    ];
    this.#list = MsrList.of(indices);
    this.#available = new Set(indices);
  }

  /** A list of the registers to read for {@linkcode decode}. */
  createList(): MsrList {
    return this.#list.copy();
  }

  /** Sets the part of `state` that lives in MSRs. `list` is of {@linkcode createList}, and was read. */
  decode(list: MsrList, state: CpuState): void {
    let place = 0;
    for (const [, key] of this.#read64) state[key] = list.value(place++);
    for (const [, key] of this.#read32) state[key] = Number(list.value(place++));
    state.mtrrDeftype = list.value(place++);
    state.mtrrFixed = list.words(place, MTRR_FIXED.length);
    place += MTRR_FIXED.length;
    state.mtrrVar = list.words(place, 2 * MTRR_VARIABLE_COUNT);
    place += 2 * MTRR_VARIABLE_COUNT;
    this.#setTop(state.mtrrVar);
    state.mcgCap = this.machineCheck;
    if (this.machineCheck === 0n) return;
    state.mcgStatus = list.value(place++);
    state.mcgCtl = list.value(place++);
    state.mceBanks = list.words(place, MC_REGISTERS);
  }

  /**
   * The registers to set for a state, in order: time first, its deadline last. Throws if the state
   * uses a register that this host's KVM does not have.
   */
  encode(state: CpuState): MsrList {
    const list = new MsrList(this.#list.length + 1);
    list.add(MTRR_DEFAULT_TYPE, 0n);
    MTRR_FIXED.forEach((index, i) => list.addWord(index, state.mtrrFixed, i));
    for (let i = 0; i < 2 * MTRR_VARIABLE_COUNT; i++) {
      if (i % 2 === 0) list.addWord(MTRR_VARIABLE + i, state.mtrrVar, i);
      else list.add(MTRR_VARIABLE + i, (state.mtrrVar[i] ?? 0n) & ~this.#top);
    }
    list.add(MTRR_DEFAULT_TYPE, state.mtrrDeftype);
    for (const [index, key] of registers32) this.#add(list, index, key, BigInt(state[key] ?? 0));
    if (this.machineCheck !== 0n) {
      list.add(MCG_STATUS, state.mcgStatus);
      list.add(MCG_CTL, state.mcgCtl);
      for (let i = 0; i < MC_REGISTERS; i++) list.addWord(MC_BANKS + i, state.mceBanks, i);
    }
    for (const [index, key] of registers64) {
      this.#add(list, index, key, state[key] ?? BigInt(resetValue(key)));
    }
    return list;
  }

  #add(list: MsrList, index: number, key: Key32 | Key64, value: bigint): void {
    if (this.#available.has(index)) list.add(index, value);
    else if (value !== BigInt(resetValue(key))) {
      throw new Error(
        `The vCPU uses ${msrName(index)}, which this host's KVM does not have`,
      );
    }
  }

  /** Sets in each mask, which are every second word, the bits that QEMU saves. */
  #setTop(mtrrVar: BigUint64Array<ArrayBuffer>): void {
    const halves = halvesOf(mtrrVar);
    const [low, high] = this.#topHalves;
    for (let i = 0; i < halves.length; i += 4) {
      halves[i + 2] = (halves[i + 2] ?? 0) | low;
      halves[i + 3] = (halves[i + 3] ?? 0) | high;
    }
  }
}

function resetValue(key: string): number | bigint {
  return (msrReset as Readonly<Record<string, number | bigint>>)[key] ?? 0n;
}
