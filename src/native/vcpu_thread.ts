/** The C library's vCPU threads (ffi/vcpu.c). */
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import type { Descriptor, Fd } from "./descriptor.ts";
import type { EventLoop } from "./event_loop.ts";
import { detachMemory, memoryAt, NativeHandle } from "./handle.ts";

/** Who owns a vCPU now (ffi/vcpu.h). */
export const VcpuState = { parked: 0, running: 1, exited: 2 } as const;

/** A thread that runs one vCPU. It starts parked. */
export class VcpuThread implements Disposable {
  /** The vCPU's descriptor, for ioctls while it is parked. */
  readonly fd: Fd;
  /** struct kvm_run. */
  readonly run: DataView<ArrayBuffer>;
  readonly #handle: NativeHandle;
  readonly #shared: Int32Array<ArrayBuffer>;

  /** Takes over the KVM vCPU `vcpu`, whose kvm_run has `runSize` bytes. */
  constructor(vcpu: Descriptor, runSize: number, index: number, loop: EventLoop) {
    const handle = BigInt(
      unwrap(
        native.molt_vcpu_create(vcpu.fd, BigInt(runSize), index, loop.doorbell),
        `Could not start vCPU ${index}`,
      ),
    );
    this.fd = vcpu.release();
    const run = memoryAt(native.molt_vcpu_run(handle), runSize);
    const shared = memoryAt(handle, 8);
    this.run = new DataView(run);
    this.#shared = new Int32Array(shared);
    this.#handle = new NativeHandle(`vCPU ${index}`, handle, () => {
      detachMemory(run);
      detachMemory(shared);
      native.molt_vcpu_destroy(handle);
    });
  }

  /** A value of {@linkcode VcpuState}. */
  get state(): number {
    return Atomics.load(this.#shared, 0);
  }

  /** Exited: 0, or the negative errno of KVM_RUN. */
  get runError(): number {
    return this.#shared[1] ?? 0;
  }

  /** The host's thread id; 0 until the thread has started. */
  get threadId(): number {
    return native.molt_vcpu_thread_id(this.#handle.value);
  }

  /** Lets a parked or exited vCPU go on. */
  resume(): void {
    native.molt_vcpu_resume(this.#handle.value);
  }

  /** Asks it to park; it does once its exits are answered. */
  kick(): void {
    native.molt_vcpu_kick(this.#handle.value);
  }

  /** Has a running vCPU sleep for `length` ns instead of running the guest; 0 ends such a sleep. */
  sleep(length: bigint): void {
    native.molt_vcpu_sleep(this.#handle.value, length);
  }

  /** Ends the thread and closes the vCPU. */
  [Symbol.dispose](): void {
    this.#handle[Symbol.dispose]();
  }
}
