/**
 * Model-specific registers of a vCPU's saved state. Indices: Intel SDM volume 4, AMD APM volume 2
 * appendix A, Linux arch/x86/include/uapi/asm/kvm_para.h.
 */
import type { CpuState } from "./cpu_state.ts";
import type { MsrValues } from "./vcpu.ts";

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
const MC_BANK_COUNT = 10;
const MC_REGISTERS = 40;

/** Keys of the state whose value is one register. */
type Key64 = { [Key in keyof CpuState]-?: CpuState[Key] extends bigint | undefined ? Key : never }[
  keyof CpuState
];
type Key32 = { [Key in keyof CpuState]-?: CpuState[Key] extends number | undefined ? Key : never }[
  keyof CpuState
];

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

/** What a register holds after reset where that is not 0. */
const resetValues: ReadonlyMap<number, bigint> = new Map([
  [0x1a0, 1n],
  [0x4b564d05, 1n],
  [0x277, 0x0007040600070406n],
]);

/** Bits 51 down to the width of physical addresses: QEMU saves MTRR masks with these set. */
function maskTop(physicalBits: number): bigint {
  return ((1n << 52n) - 1n) & ~((1n << BigInt(physicalBits)) - 1n);
}

/** Reads and writes the registers that this host's KVM has. */
export class MsrTable {
  readonly #indices: readonly number[];
  readonly #available: ReadonlySet<number>;
  readonly #top: bigint;
  /** IA32_MCG_CAP: banks and features of machine checks; 0 without them. */
  readonly machineCheck: bigint;

  /** `listed` is what KVM_GET_MSR_INDEX_LIST says; `physicalBits` the guest's address width. */
  constructor(listed: ReadonlySet<number>, physicalBits: number, machineCheck: bigint) {
    this.#top = maskTop(physicalBits);
    this.machineCheck = machineCheck;
    const all = [
      ...registers64.map(([index]) => index),
      ...registers32.map(([index]) => index),
    ].filter((index) => listed.has(index));
    all.push(MTRR_DEFAULT_TYPE, ...MTRR_FIXED);
    for (let i = 0; i < 2 * MTRR_VARIABLE_COUNT; i++) all.push(MTRR_VARIABLE + i);
    if (machineCheck !== 0n) {
      all.push(MCG_STATUS, MCG_CTL);
      for (let i = 0; i < MC_REGISTERS; i++) all.push(MC_BANKS + i);
    }
    this.#indices = all;
    this.#available = new Set(all);
  }

  /** The registers to read for {@linkcode decode}. */
  get indices(): readonly number[] {
    return this.#indices;
  }

  /** The saved state's part that lives in MSRs. */
  decode(values: MsrValues): MsrState {
    const value = (index: number) => values.get(index) ?? resetValues.get(index) ?? 0n;
    const state: Partial<Record<Key64, bigint>> & Partial<Record<Key32, number>> = {};
    for (const [index, key] of registers64) state[key] = value(index);
    for (const [index, key] of registers32) state[key] = Number(value(index));
    // A register of a CPU feature: absent where the host's KVM does not have it.
    if (!this.#available.has(0x122)) delete state.tsxCtrl;
    return {
      ...state,
      mtrrDeftype: value(MTRR_DEFAULT_TYPE),
      mtrrFixed: MTRR_FIXED.map(value),
      mtrrVar: Array.from({ length: MTRR_VARIABLE_COUNT }, (_, i) => ({
        base: value(MTRR_VARIABLE + 2 * i),
        mask: value(MTRR_VARIABLE + 2 * i + 1) | this.#top,
      })),
      mcgCap: this.machineCheck,
      mcgStatus: value(MCG_STATUS),
      mcgCtl: value(MCG_CTL),
      mceBanks: Array.from({ length: MC_REGISTERS }, (_, i) => value(MC_BANKS + i)),
    } as MsrState;
  }

  /**
   * The registers to set for a state, in order: time first, its deadline last. Throws if the state
   * uses a register that this host's KVM does not have.
   */
  encode(state: CpuState): [index: number, value: bigint][] {
    const list: [number, bigint][] = [];
    const add = (index: number, value: bigint) => {
      if (this.#available.has(index)) list.push([index, value]);
      else if (value !== (resetValues.get(index) ?? 0n)) {
        throw new Error(
          `The vCPU uses MSR 0x${index.toString(16)}, which this host's KVM does not have`,
        );
      }
    };
    list.push([MTRR_DEFAULT_TYPE, 0n]);
    MTRR_FIXED.forEach((index, i) => list.push([index, state.mtrrFixed[i] ?? 0n]));
    state.mtrrVar.forEach(({ base, mask }, i) => {
      list.push([MTRR_VARIABLE + 2 * i, base]);
      list.push([MTRR_VARIABLE + 2 * i + 1, mask & ~this.#top]);
    });
    list.push([MTRR_DEFAULT_TYPE, state.mtrrDeftype]);
    for (const [index, key] of registers32) add(index, BigInt(state[key] ?? 0));
    if (this.machineCheck !== 0n) {
      list.push([MCG_STATUS, state.mcgStatus], [MCG_CTL, state.mcgCtl]);
      state.mceBanks.slice(0, 4 * MC_BANK_COUNT).forEach((value, i) => {
        list.push([MC_BANKS + i, value]);
      });
    }
    for (const [index, key] of registers64) {
      add(index, state[key] ?? resetValues.get(index) ?? 0n);
    }
    return list;
  }
}

/** The fields that {@linkcode MsrTable.decode} gives. */
export type MsrState = Pick<
  CpuState,
  | (typeof registers64)[number][1]
  | (typeof registers32)[number][1]
  | "mtrrDeftype"
  | "mtrrFixed"
  | "mtrrVar"
  | "mcgCap"
  | "mcgStatus"
  | "mcgCtl"
  | "mceBanks"
>;
