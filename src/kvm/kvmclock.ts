/** KVM's paravirtual clock. It is paused while the machine is stopped. */
import type { RunStateListener } from "../devices/device.ts";
import { type KvmclockState, kvmclockState } from "../devices/kvmclock_state.ts";
import { ioctlUnless } from "../native/control.ts";
import { Errno } from "../native/errors.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import type { CpuState } from "./cpu_state.ts";
import { Ioctl } from "./constants.ts";
import type { Vcpu } from "./vcpu.ts";
import type { KvmVm } from "./vm.ts";

/** The guest's kvmclock. */
export class KvmClock implements SavedDevice<KvmclockState>, RunStateListener {
  readonly idstr = "kvmclock";
  readonly instanceId = 0;
  readonly description = kvmclockState;
  /** QEMU's emulator has no kvmclock; whoever runs the guest with KVM knows the TSC's frequency. */
  readonly writtenBy = {
    idstr: "cpu",
    shows: (state: unknown) => (state as CpuState).tscKhz !== undefined,
  };
  readonly #vm: KvmVm;
  readonly #vcpus: readonly Vcpu[];
  /** Set while the machine is stopped; `undefined` before it first runs. */
  #stopped: KvmclockState | undefined;

  constructor(vm: KvmVm, vcpus: readonly Vcpu[]) {
    this.#vm = vm;
    this.#vcpus = vcpus;
  }

  runStateChanged(running: boolean): void {
    if (!running) {
      this.#stopped = this.#read();
      return;
    }
    if (this.#stopped === undefined) return;
    this.#vm.setClock(this.#stopped.clock);
    this.#stopped = undefined;
    for (const vcpu of this.#vcpus) notifyPaused(vcpu);
  }

  save(): KvmclockState {
    return { ...(this.#stopped ?? this.#read()) };
  }

  load(state: KvmclockState): void {
    this.#stopped = { ...state };
  }

  #read(): KvmclockState {
    return { clock: this.#vm.getClock().clock, clockIsReliable: true };
  }
}

/** Notifies the guest's watchdogs that the host had paused it. */
function notifyPaused(vcpu: Vcpu): void {
  // EINVAL: the guest does not use the clock, so there is nobody to notify.
  ioctlUnless(Errno.EINVAL, vcpu.fd, Ioctl.kvmclockControl, "KVM_KVMCLOCK_CTRL");
}
