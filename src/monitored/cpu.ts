/** A parked vCPU's registers and address translation, for people to look at. */
import { Ioctl, MpState } from "../kvm/constants.ts";
import { getSegment } from "../kvm/structures.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { CpuRegisters } from "../monitor/context.ts";

/** Where RAX RCX RDX RBX RSP RBP RSI RDI R8.. lie in struct kvm_regs, in words of 8 bytes. */
const generalOrder = [0, 2, 3, 1, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15] as const;

/** Reads the registers. `vcpu` must be parked. */
export function readRegisters(vcpu: Vcpu): CpuRegisters {
  const regs = vcpu.get(Ioctl.getRegs, 144, "KVM_GET_REGS");
  const sregs = vcpu.get(Ioctl.getSregs, 312, "KVM_GET_SREGS");
  const debug = vcpu.get(Ioctl.getDebugRegs, 128, "KVM_GET_DEBUGREGS");
  const state = vcpu.get(Ioctl.getMpState, 4, "KVM_GET_MP_STATE").getUint32(0, true);
  const register = (index: number) => regs.getBigUint64(8 * index, true);
  const control = (offset: number) => sregs.getBigUint64(offset, true);
  const table = (offset: number) => ({
    base: sregs.getBigUint64(offset, true),
    limit: sregs.getUint16(offset + 8, true),
  });
  return {
    general: generalOrder.map(register),
    rip: register(16),
    rflags: register(17),
    segments: {
      CS: getSegment(sregs, 0),
      DS: getSegment(sregs, 24),
      ES: getSegment(sregs, 48),
      FS: getSegment(sregs, 72),
      GS: getSegment(sregs, 96),
      SS: getSegment(sregs, 120),
      TR: getSegment(sregs, 144),
      LDT: getSegment(sregs, 168),
    },
    gdt: table(192),
    idt: table(208),
    cr0: control(224),
    cr2: control(232),
    cr3: control(240),
    cr4: control(248),
    efer: control(264),
    // struct kvm_debugregs: db[4], dr6, dr7.
    debug: Array.from({ length: 6 }, (_, index) => debug.getBigUint64(8 * index, true)),
    halted: state === MpState.halted,
  };
}

/** The guest-physical address that `vcpu`, which must be parked, sees at `address`. */
export function translate(vcpu: Vcpu, address: bigint): number | undefined {
  // struct kvm_translation: linear address, physical address, valid.
  const request = new DataView(new ArrayBuffer(24));
  request.setBigUint64(0, address, true);
  vcpu.set(Ioctl.translate, request, "KVM_TRANSLATE");
  return request.getUint8(16) === 0 ? undefined : Number(request.getBigUint64(8, true));
}
