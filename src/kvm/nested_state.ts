/** Saved state of a vCPU that runs a hypervisor itself (struct kvm_nested_state of linux/kvm.h). */
import { byteArray, struct, subsection, u16, u32, u64 } from "../vmstate/vmstate.ts";

/** Size of the header, which `size` counts. */
const headerSize = 128;
const pageSize = 4096;

export const nestedState = struct({
  name: "cpu/kvm_nested_state",
  version: 1,
  fields: {
    flags: u16(),
    /** 0 VMX, 1 SVM. */
    format: u16(),
    /** Bytes of the whole structure. */
    size: u32(),
  },
  subsections: {
    vmx: subsection({
      name: "cpu/kvm_nested_state/vmx",
      version: 1,
      fields: {
        vmxonPa: u64({ name: "hdr.vmx.vmxon_pa" }),
        vmcs12Pa: u64({ name: "hdr.vmx.vmcs12_pa" }),
        smmFlags: u16({ name: "hdr.vmx.smm.flags" }),
      },
      subsections: {
        vmcs12: subsection({
          name: "cpu/kvm_nested_state/vmx/vmcs12",
          version: 1,
          field: byteArray(pageSize, { name: "data.vmx[0].vmcs12" }),
        }),
        shadowVmcs12: subsection({
          name: "cpu/kvm_nested_state/vmx/shadow_vmcs12",
          version: 1,
          field: byteArray(pageSize, { name: "data.vmx[0].shadow_vmcs12" }),
        }),
      },
    }),
    svm: subsection({
      name: "cpu/kvm_nested_state/svm",
      version: 1,
      fields: {
        vmcbPa: u64({ name: "hdr.svm.vmcb_pa" }),
        vmcb12: byteArray(pageSize, { name: "data.svm[0].vmcb12" }),
      },
      needed: (_svm, state: { format: number; size: number }) =>
        state.format === 1 && state.size > headerSize,
    }),
  },
});
