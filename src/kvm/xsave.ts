/**
 * The floating-point and vector registers: between the XSAVE image (struct kvm_xsave; Intel SDM
 * volume 1 chapter 13) and the state that is saved.
 */
import type { CpuidEntry } from "./kvm.ts";
import type { CpuState } from "./cpu_state.ts";

/** Fields of a vCPU's state that live in the XSAVE image. */
export type XsaveState = Pick<
  CpuState,
  | "fpuc"
  | "fpus"
  | "fptag"
  | "fpregs"
  | "mxcsr"
  | "xmmRegs"
  | "ymmHighRegs"
  | "xstateBv"
  | "fpopIpDp"
  | "avx512"
  | "pkru"
>;

/** The image's size that KVM_GET_XSAVE uses; larger ones need KVM_GET_XSAVE2. */
export const XSAVE_SIZE = 4096;

const X87_REGISTERS = 32;
const XMM_REGISTERS = 160;
const XSTATE_BV = 512;

/** Where the host puts the parts that have no fixed place (CPUID leaf 0xd); absent: not supported. */
export interface XsaveLayout {
  readonly ymmHigh: number | undefined;
  readonly opmask: number | undefined;
  readonly zmmHigh: number | undefined;
  readonly highZmm: number | undefined;
  readonly pkru: number | undefined;
}

/** Reads the layout from the CPUID that KVM supports. */
export function xsaveLayout(cpuid: readonly CpuidEntry[]): XsaveLayout {
  const offset = (component: number) => {
    const leaf = cpuid.find((entry) => entry.function === 0xd && entry.index === component);
    return leaf && leaf.eax > 0 && leaf.ebx + leaf.eax <= XSAVE_SIZE ? leaf.ebx : undefined;
  };
  return {
    ymmHigh: offset(2),
    opmask: offset(5),
    zmmHigh: offset(6),
    highZmm: offset(7),
    pkru: offset(9),
  };
}

/** Decodes an XSAVE image. The state looks into the image instead of copying from it. */
export function getXsave(image: DataView<ArrayBuffer>, layout: XsaveLayout): XsaveState {
  const word = (at: number) => image.getBigUint64(at, true);
  const words = (at: number, count: number) =>
    new BigUint64Array(image.buffer, image.byteOffset + at, count);
  const { ymmHigh, opmask, zmmHigh, highZmm } = layout;
  return {
    fpuc: image.getUint16(0, true),
    fpus: image.getUint16(2, true),
    fptag: image.getUint8(4),
    fpregs: Array.from({ length: 8 }, (_, i) => ({
      mantissa: word(X87_REGISTERS + 16 * i),
      exponent: image.getUint16(X87_REGISTERS + 16 * i + 8, true),
    })),
    fpopIpDp: { fpop: image.getUint16(6, true), fpip: word(8), fpdp: word(16) },
    mxcsr: image.getUint32(24, true),
    xmmRegs: words(XMM_REGISTERS, 32),
    ymmHighRegs: ymmHigh === undefined ? new BigUint64Array(32) : words(ymmHigh, 32),
    xstateBv: word(XSTATE_BV),
    ...(opmask === undefined || zmmHigh === undefined || highZmm === undefined ? {} : {
      avx512: {
        opmaskRegs: words(opmask, 8),
        zmmHighRegs: words(zmmHigh, 64),
        highZmmRegs: words(highZmm, 128),
      },
    }),
    pkru: layout.pkru === undefined ? 0 : image.getUint32(layout.pkru, true),
  };
}

/** Encodes an XSAVE image. Throws if the state uses registers that this host does not have. */
export function setXsave(
  image: DataView<ArrayBuffer>,
  state: CpuState,
  layout: XsaveLayout,
): void {
  const word = (at: number, value: bigint) => image.setBigUint64(at, value, true);
  const words = (at: number, values: BigUint64Array<ArrayBuffer>) =>
    new BigUint64Array(image.buffer, image.byteOffset + at, values.length).set(values);
  image.setUint16(0, state.fpuc, true);
  image.setUint16(2, state.fpus, true);
  image.setUint8(4, state.fptag & 0xff);
  state.fpregs.forEach((register, i) => {
    word(X87_REGISTERS + 16 * i, register.mantissa);
    image.setUint16(X87_REGISTERS + 16 * i + 8, register.exponent, true);
  });
  if (state.fpopIpDp) {
    image.setUint16(6, state.fpopIpDp.fpop, true);
    word(8, state.fpopIpDp.fpip);
    word(16, state.fpopIpDp.fpdp);
  }
  image.setUint32(24, state.mxcsr, true);
  words(XMM_REGISTERS, state.xmmRegs);
  word(XSTATE_BV, state.xstateBv);
  const { ymmHigh, opmask, zmmHigh, highZmm, pkru } = layout;
  if (ymmHigh !== undefined) words(ymmHigh, state.ymmHighRegs);
  if (state.avx512) {
    if (opmask === undefined || zmmHigh === undefined || highZmm === undefined) {
      throw new Error("The vCPU uses AVX-512 registers, which this host does not have");
    }
    words(opmask, state.avx512.opmaskRegs);
    words(zmmHigh, state.avx512.zmmHighRegs);
    words(highZmm, state.avx512.highZmmRegs);
  }
  if (pkru !== undefined) image.setUint32(pkru, state.pkru ?? 0, true);
}
