/** A vCPU's registers as sections of the stream: `cpu_common` and `cpu`. */
import type { Resettable } from "../devices/device.ts";
import type { InitialCpu } from "../boot/boot.ts";
import { initialRegisters, type SegmentRegister } from "../boot/registers.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import { Ioctl, MpState } from "./constants.ts";
import {
  type CpuCommonState,
  cpuCommonState,
  type CpuState,
  cpuState,
  type SegmentState,
} from "./cpu_state.ts";
import { MsrList } from "./msr_list.ts";
import { msrReset, type MsrTable } from "./msrs.ts";
import {
  derivedFlags,
  getEvents,
  getSegment,
  secondFlags,
  setEvents,
  setSegment,
} from "./structures.ts";
import type { Vcpu } from "./vcpu.ts";
import { getXsave, setXsave, XSAVE_SIZE, type XsaveLayout } from "./xsave.ts";

/** Where the registers RAX RCX RDX RBX RSP RBP RSI RDI R8.. lie in struct kvm_regs. */
const REGS_ORDER = [0, 2, 3, 1, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15] as const;
const RIP = 16 * 8;
const RFLAGS = 17 * 8;

/** Offsets in struct kvm_sregs, segments in the state's order ES CS SS DS FS GS. */
const SREGS_SEGMENTS = [48, 0, 120, 24, 72, 96] as const;
const SREGS = {
  tr: 144,
  ldt: 168,
  gdt: 192,
  idt: 208,
  cr0: 224,
  cr2: 232,
  cr3: 240,
  cr4: 248,
  cr8: 256,
  efer: 264,
  apicBase: 272,
  interruptBitmap: 280,
} as const;
const SREGS_SIZE = 312;
/** The index of the MSR. */
const TSC = 0x10;
/** Minutes at any frequency: far more than the second in which KVM takes TSCs for the same. */
const FAR_TICKS = 1n << 42n;

/** What all vCPUs of a machine share. */
export interface CpuDependencies {
  readonly msrs: MsrTable;
  readonly xsave: XsaveLayout;
  /** Frequency of the guest's TSC in kHz. */
  readonly tscKhz: number;
}

/** A vCPU's registers. Read and written only while it is parked. */
export class Cpu implements SavedDevice<CpuState>, Resettable {
  readonly idstr = "cpu";
  readonly instanceId: number;
  readonly description = cpuState;
  readonly #vcpu: Vcpu;
  readonly #dependencies: CpuDependencies;
  #powerOn: CpuState | undefined;

  constructor(vcpu: Vcpu, dependencies: CpuDependencies) {
    this.instanceId = vcpu.index;
    this.#vcpu = vcpu;
    this.#dependencies = dependencies;
    if (dependencies.msrs.machineCheck !== 0n) {
      const capability = new DataView(new ArrayBuffer(8));
      capability.setBigUint64(0, dependencies.msrs.machineCheck, true);
      vcpu.set(Ioctl.setupMce, capability, "KVM_X86_SETUP_MCE");
    }
  }

  /** KVM_MP_STATE_*. */
  get mpState(): number {
    return this.#vcpu.get(Ioctl.getMpState, 4, "KVM_GET_MP_STATE").getUint32(0, true);
  }

  save(): CpuState {
    const vcpu = this.#vcpu;
    const { msrs, xsave, tscKhz } = this.#dependencies;
    // First: KVM takes a pending INIT or start-up IPI when it is asked, which changes registers.
    const mpState = this.mpState;
    // Then this: KVM puts what a pending exception brings with it into CR2 or DR6 when it is asked.
    const events = getEvents(vcpu.get(Ioctl.getVcpuEvents, 64, "KVM_GET_VCPU_EVENTS"));
    const regs = vcpu.get(Ioctl.getRegs, 144, "KVM_GET_REGS");
    const sregs = vcpu.get(Ioctl.getSregs, SREGS_SIZE, "KVM_GET_SREGS");
    const debug = vcpu.get(Ioctl.getDebugRegs, 128, "KVM_GET_DEBUGREGS");
    const image = vcpu.get(Ioctl.getXsave, XSAVE_SIZE, "KVM_GET_XSAVE");
    const values = msrs.createList();
    vcpu.getMsrs(values);
    const registers = {
      regs: REGS_ORDER.map((index) => regs.getBigUint64(8 * index, true)),
      eip: regs.getBigUint64(RIP, true),
      eflags: regs.getBigUint64(RFLAGS, true),
      segs: SREGS_SEGMENTS.map((at) => getSegment(sregs, at)),
      cr0: sregs.getBigUint64(SREGS.cr0, true),
      cr4: sregs.getBigUint64(SREGS.cr4, true),
      efer: sregs.getBigUint64(SREGS.efer, true),
    };
    const { interruptShadow, nmiMasked, smm, ...eventState } = events;
    const state: CpuState = {
      ...blank,
      ...registers,
      ...getXsave(image, xsave),
      ...eventState,
      hflags: derivedFlags(registers, interruptShadow, smm),
      hflags2: secondFlags(nmiMasked),
      ldt: getSegment(sregs, SREGS.ldt),
      tr: getSegment(sregs, SREGS.tr),
      gdt: getTable(sregs, SREGS.gdt),
      idt: getTable(sregs, SREGS.idt),
      cr2: sregs.getBigUint64(SREGS.cr2, true),
      cr3: sregs.getBigUint64(SREGS.cr3, true),
      dr: getDebugRegisters(debug),
      mpState,
      xcr0: getXcr0(vcpu.get(Ioctl.getXcrs, 392, "KVM_GET_XCRS")),
      tscKhz: BigInt(tscKhz),
    };
    msrs.decode(values, state);
    return state;
  }

  load(state: CpuState): void {
    if (this.instanceId === 0) this.#forgetTsc(state.tsc);
    this.#write(state);
  }

  /**
   * Before a TSC that another machine had is set: KVM takes a value that is less than a second from what the
   * TSC would be here for the same time, as with processors that are started together, and ignores it
   * (kvm_synchronize_tsc). The TSC would go back if this machine is younger than the guest. After a value
   * that is far from both, the next one counts; the other vCPUs' are less than a second from that.
   */
  #forgetTsc(wanted: bigint): void {
    const now = this.#vcpu.getMsr(TSC);
    const far = BigInt.asUintN(64, (now > wanted ? now : wanted) + FAR_TICKS);
    const list = new MsrList(1);
    list.add(TSC, far);
    this.#vcpu.setMsrs(list);
  }

  #write(state: CpuState): void {
    const vcpu = this.#vcpu;
    const { msrs, xsave } = this.#dependencies;
    const image = structure(XSAVE_SIZE);
    setXsave(image, state, xsave);
    const registers = msrs.encode(state);

    const sregs = vcpu.get(Ioctl.getSregs, SREGS_SIZE, "KVM_GET_SREGS");
    state.segs.forEach((segment, i) => setSegment(sregs, SREGS_SEGMENTS[i] ?? 0, segment));
    setSegment(sregs, SREGS.ldt, state.ldt);
    setSegment(sregs, SREGS.tr, state.tr);
    setTable(sregs, SREGS.gdt, state.gdt);
    setTable(sregs, SREGS.idt, state.idt);
    sregs.setBigUint64(SREGS.cr0, state.cr0, true);
    sregs.setBigUint64(SREGS.cr2, state.cr2, true);
    sregs.setBigUint64(SREGS.cr3, state.cr3, true);
    sregs.setBigUint64(SREGS.cr4, state.cr4, true);
    sregs.setBigUint64(SREGS.efer, state.efer, true);
    for (let i = 0; i < 4; i++) sregs.setBigUint64(SREGS.interruptBitmap + 8 * i, 0n, true);
    vcpu.set(Ioctl.setSregs, sregs, "KVM_SET_SREGS");

    const regs = structure(144);
    state.regs.forEach((value, i) => regs.setBigUint64(8 * (REGS_ORDER[i] ?? 0), value, true));
    regs.setBigUint64(RIP, state.eip, true);
    regs.setBigUint64(RFLAGS, state.eflags, true);
    vcpu.set(Ioctl.setRegs, regs, "KVM_SET_REGS");

    vcpu.set(Ioctl.setXsave, image, "KVM_SET_XSAVE");
    vcpu.set(Ioctl.setXcrs, xcrs(state.xcr0), "KVM_SET_XCRS");
    vcpu.setMsrs(registers);
    const mpState = structure(4);
    mpState.setUint32(0, state.mpState, true);
    vcpu.set(Ioctl.setMpState, mpState, "KVM_SET_MP_STATE");
    const events = structure(64);
    setEvents(events, state);
    vcpu.set(Ioctl.setVcpuEvents, events, "KVM_SET_VCPU_EVENTS");
    vcpu.set(Ioctl.setDebugRegs, debugRegisters(state.dr), "KVM_SET_DEBUGREGS");
  }

  /** Remembers the registers of a vCPU that has never run: what a reset returns to. */
  rememberPowerOn(): void {
    this.#powerOn = this.save();
  }

  reset(): void {
    if (this.#powerOn === undefined) throw new Error("The vCPU's power-on state is not known");
    // Time goes on over a reset.
    this.#write({ ...this.#powerOn, tsc: this.#vcpu.getMsr(TSC) });
  }

  /** Sets a vCPU that is as after reset to its first instruction. */
  start(initial: InitialCpu): void {
    const registers = initialRegisters(initial);
    if (registers === undefined) return;
    const state = this.save();
    const data = segmentState(registers.data);
    this.#write({
      ...state,
      regs: state.regs.map((_, i) => {
        const named: Readonly<Record<number, number>> = {
          2: registers.rdx,
          3: registers.rbx,
          4: registers.rsp,
          6: registers.rsi,
        };
        return BigInt(named[i] ?? 0);
      }),
      eip: BigInt(registers.rip),
      segs: [data, segmentState(registers.cs), data, data, data, data],
      tr: registers.tr ? segmentState(registers.tr) : state.tr,
      gdt: registers.gdt
        ? { selector: 0, base: BigInt(registers.gdt.base), limit: registers.gdt.limit, flags: 0 }
        : state.gdt,
      cr0: BigInt(registers.cr0),
      cr3: BigInt(registers.cr3),
      cr4: BigInt(registers.cr4),
      efer: BigInt(registers.efer),
      mpState: MpState.runnable,
    });
  }
}

/** The section that QEMU keeps apart from the registers. */
export class CpuCommon implements SavedDevice<CpuCommonState> {
  readonly idstr = "cpu_common";
  readonly instanceId: number;
  readonly description = cpuCommonState;
  readonly #cpu: Cpu;

  constructor(cpu: Cpu) {
    this.instanceId = cpu.instanceId;
    this.#cpu = cpu;
  }

  save(): CpuCommonState {
    return {
      halted: this.#cpu.mpState === MpState.halted ? 1 : 0,
      interruptRequest: 0,
      exceptionIndex: -1,
      crashOccurred: false,
    };
  }

  /** Nothing to take over: the section `cpu` says whether the vCPU waits in HLT. */
  load(): void {}
}

/**
 * What all states have in common, and what is not read but has to be there: no register of this board's
 * vCPUs holds emulated SVM's and SMM's state, and others are features that the host may not have.
 */
const blank = {
  ...msrReset,
  mtrrDeftype: 0n,
  mtrrFixed: new BigUint64Array(0),
  mtrrVar: new BigUint64Array(0),
  mcgCap: 0n,
  mcgStatus: 0n,
  mcgCtl: 0n,
  mcgExtCtl: 0n,
  mceBanks: new BigUint64Array(40),
  fpregsFormat: 0,
  a20Mask: -1,
  smbase: 0x30000,
  vmVmcb: 0n,
  tscOffset: 0n,
  intercept: 0n,
  interceptCrRead: 0,
  interceptCrWrite: 0,
  interceptDrRead: 0,
  interceptDrWrite: 0,
  interceptExceptions: 0,
  vTpr: 0,
  intCtl: 0,
  pl0Ssp: 0n,
  msrHvVapic: 0n,
  msrHvTsc: 0n,
  msrHvRuntime: 0n,
};

function structure(size: number): DataView<ArrayBuffer> {
  return new DataView(new ArrayBuffer(size));
}

/** struct kvm_dtable: base, limit. */
function getTable(view: DataView, at: number): SegmentState {
  return {
    selector: 0,
    base: view.getBigUint64(at, true),
    limit: view.getUint16(at + 8, true),
    flags: 0,
  };
}

function setTable(view: DataView, at: number, table: SegmentState): void {
  view.setBigUint64(at, table.base, true);
  view.setUint16(at + 8, table.limit, true);
}

/** struct kvm_debugregs: DR0 to DR3, DR6, DR7. */
function getDebugRegisters(view: DataView): bigint[] {
  const word = (index: number) => view.getBigUint64(8 * index, true);
  return [word(0), word(1), word(2), word(3), word(4), word(5), word(4), word(5)];
}

function debugRegisters(dr: readonly bigint[]): DataView<ArrayBuffer> {
  const view = structure(128);
  [0, 1, 2, 3, 6, 7].forEach((register, i) => view.setBigUint64(8 * i, dr[register] ?? 0n, true));
  return view;
}

/** struct kvm_xcrs: count, flags, then { register, reserved, value }. */
function getXcr0(view: DataView): bigint {
  const count = view.getUint32(0, true);
  for (let i = 0; i < count; i++) {
    if (view.getUint32(8 + 16 * i, true) === 0) return view.getBigUint64(16 + 16 * i, true);
  }
  return 1n;
}

function xcrs(xcr0: bigint): DataView<ArrayBuffer> {
  const view = structure(392);
  view.setUint32(0, 1, true);
  view.setBigUint64(16, xcr0, true);
  return view;
}

function segmentState(segment: SegmentRegister): SegmentState {
  const bit = (on: boolean, at: number) => (on ? 1 : 0) << at;
  return {
    selector: segment.selector,
    base: BigInt(segment.base),
    limit: segment.limit,
    flags: ((segment.type << 8) | bit(segment.s, 12) | (segment.dpl << 13) |
      bit(segment.present, 15) | bit(segment.l, 21) | bit(segment.db, 22) |
      bit(segment.g, 23)) >>> 0,
  };
}
