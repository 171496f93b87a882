/** A vCPU: its exits, and the ioctls that read and write its registers while it is parked. */
import { ioctl, ioctlValue } from "../native/control.ts";
import type { Fd } from "../native/descriptor.ts";
import type { EventLoop } from "../native/event_loop.ts";
import { VcpuThread } from "../native/vcpu_thread.ts";
import { Ioctl } from "./constants.ts";
import type { CpuidEntry, Kvm } from "./kvm.ts";
import { MsrList } from "./msr_list.ts";
import { msrName } from "./msr_names.ts";
import type { KvmVm } from "./vm.ts";

/** Offsets in struct kvm_run. */
const EXIT_REASON = 8;
const EXIT_DATA = 32;

/** One vCPU and its thread, which starts parked. */
export class Vcpu implements Disposable {
  readonly index: number;
  readonly fd: Fd;
  /** Runs and parks the vCPU. */
  readonly thread: VcpuThread;

  constructor(kvm: Kvm, vm: KvmVm, loop: EventLoop, index: number) {
    this.index = index;
    using descriptor = vm.createVcpu(index);
    this.thread = new VcpuThread(descriptor, kvm.runSize, index, loop);
    this.fd = this.thread.fd;
  }

  /** Exited: a value of {@linkcode Exit}. */
  get exitReason(): number {
    return this.thread.run.getUint32(EXIT_REASON, true);
  }

  /** Exited: the part of kvm_run that the exit reason gives a meaning. Answers go there too. */
  readonly exitData = EXIT_DATA;

  setCpuid(entries: readonly CpuidEntry[]): void {
    const bytes = new Uint8Array(8 + 40 * entries.length);
    const data = new DataView(bytes.buffer);
    data.setUint32(0, entries.length, true);
    entries.forEach((entry, i) => {
      const words = [
        entry.function,
        entry.index,
        entry.flags,
        entry.eax,
        entry.ebx,
        entry.ecx,
        entry.edx,
      ];
      words.forEach((word, j) => data.setUint32(8 + 40 * i + 4 * j, word, true));
    });
    ioctl(this.fd, Ioctl.setCpuid2, bytes, "KVM_SET_CPUID2");
  }

  /** Reads a structure of `size` bytes with a KVM_GET_* request. */
  get(request: bigint, size: number, name: string): DataView<ArrayBuffer> {
    const bytes = new Uint8Array(size);
    ioctl(this.fd, request, bytes, name);
    return new DataView(bytes.buffer);
  }

  /** Writes a structure with a KVM_SET_* request. */
  set(request: bigint, structure: DataView<ArrayBuffer>, name: string): void {
    const bytes = new Uint8Array(structure.buffer, structure.byteOffset, structure.byteLength);
    ioctl(this.fd, request, bytes, name);
  }

  /** Reads MSRs into `list`. Every index must be one that KVM knows. */
  getMsrs(list: MsrList): void {
    const done = ioctl(this.fd, Ioctl.getMsrs, list.bytes, "KVM_GET_MSRS");
    if (done === list.length) return;
    throw new Error(`Could not read ${msrName(list.index(done))} of vCPU ${this.index}`);
  }

  /** Reads one MSR. */
  getMsr(index: number): bigint {
    const list = MsrList.of([index]);
    this.getMsrs(list);
    return list.value(0);
  }

  /** Writes MSRs in order. */
  setMsrs(list: MsrList): void {
    const done = ioctl(this.fd, Ioctl.setMsrs, list.bytes, "KVM_SET_MSRS");
    if (done === list.length) return;
    throw new Error(
      `Could not set ${msrName(list.index(done))} of vCPU ${this.index} ` +
        `to 0x${list.value(done).toString(16)}`,
    );
  }

  /** The frequency of the vCPU's TSC in kHz. */
  tscKhz(): number {
    return ioctlValue(this.fd, Ioctl.getTscKhz, 0, "KVM_GET_TSC_KHZ");
  }

  /** Injects a non-maskable interrupt. */
  nmi(): void {
    ioctlValue(this.fd, Ioctl.nmi, 0, "KVM_NMI");
  }

  /** Ends the thread and closes the vCPU. */
  [Symbol.dispose](): void {
    this.thread[Symbol.dispose]();
  }
}
