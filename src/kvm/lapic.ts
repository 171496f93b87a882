/** The in-kernel local APIC of a vCPU. Registers: Intel SDM volume 3, table "Local APIC Register Address Map". */
import type { Resettable, VirtualClock } from "../devices/device.ts";
import { type ApicState, apicState } from "../devices/apic_state.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import { Ioctl } from "./constants.ts";
import type { Vcpu } from "./vcpu.ts";

const Register = {
  id: 0x20,
  arbitrationPriority: 0x90,
  taskPriority: 0x80,
  logicalDestination: 0xd0,
  destinationFormat: 0xe0,
  spuriousVector: 0xf0,
  inService: 0x100,
  triggerMode: 0x180,
  request: 0x200,
  errorStatus: 0x280,
  interruptCommandLow: 0x300,
  interruptCommandHigh: 0x310,
  localVectors: 0x320,
  initialCount: 0x380,
  divideConfiguration: 0x3e0,
} as const;

const SIZE = 1024;
const SREGS_SIZE = 312;
const SREGS_APIC_BASE = 272;
const TIMER_DEADLINE = 1 << 18;
const DESTINATION_FORMAT_LOW = 0x0fffffff;

/** The local APIC. Its timer's bus runs at 1 GHz in KVM. */
export class LocalApic implements SavedDevice<ApicState>, Resettable {
  readonly idstr = "apic";
  readonly instanceId: number;
  readonly description = apicState;
  readonly #vcpu: Vcpu;
  readonly #clock: Pick<VirtualClock, "now">;
  #powerOn: ApicState | undefined;

  constructor(vcpu: Vcpu, clock: Pick<VirtualClock, "now">) {
    this.instanceId = vcpu.index;
    this.#vcpu = vcpu;
    this.#clock = clock;
  }

  save(): ApicState {
    const view = this.#vcpu.get(Ioctl.getLapic, SIZE, "KVM_GET_LAPIC");
    const sregs = this.#vcpu.get(Ioctl.getSregs, SREGS_SIZE, "KVM_GET_SREGS");
    const word = (at: number) => view.getUint32(at, true);
    const words = (at: number, count: number) =>
      Array.from({ length: count }, (_, i) => word(at + 16 * i));
    const divide = word(Register.divideConfiguration);
    const shift = ((divide & 3) | ((divide >>> 1) & 4)) + 1 & 7;
    const now = this.#clock.now();
    const state = {
      apicbase: sregs.getUint32(SREGS_APIC_BASE, true),
      id: word(Register.id) >>> 24,
      arbId: word(Register.arbitrationPriority) & 0xff,
      tpr: word(Register.taskPriority) & 0xff,
      spuriousVec: word(Register.spuriousVector),
      logDest: word(Register.logicalDestination) >>> 24,
      destMode: word(Register.destinationFormat) >>> 28,
      isr: words(Register.inService, 8),
      tmr: words(Register.triggerMode, 8),
      irr: words(Register.request, 8),
      lvt: words(Register.localVectors, 6),
      esr: word(Register.errorStatus),
      icr: [word(Register.interruptCommandLow), word(Register.interruptCommandHigh)],
      divideConf: divide,
      countShift: shift,
      initialCount: word(Register.initialCount),
      initialCountLoadTime: now,
      nextTime: 0n,
      timerExpiry: -1n,
    };
    return { ...state, nextTime: nextShot(state) };
  }

  load(state: ApicState): void {
    this.#loadBase(state.apicbase);
    const view = new DataView(new ArrayBuffer(SIZE));
    const word = (at: number, value: number) => view.setUint32(at, value, true);
    const words = (at: number, values: readonly number[]) =>
      values.forEach((value, i) => word(at + 16 * i, value));
    // In x2APIC mode, too: without KVM_CAP_X2APIC_API KVM shifts it to where that mode has it.
    word(Register.id, state.id << 24);
    word(Register.taskPriority, state.tpr);
    word(Register.spuriousVector, state.spuriousVec);
    word(Register.logicalDestination, state.logDest << 24);
    word(Register.destinationFormat, (state.destMode << 28) | DESTINATION_FORMAT_LOW);
    words(Register.inService, state.isr);
    words(Register.triggerMode, state.tmr);
    words(Register.request, state.irr);
    words(Register.localVectors, state.lvt);
    word(Register.errorStatus, state.esr);
    words(Register.interruptCommandLow, state.icr);
    word(Register.initialCount, state.initialCount);
    word(Register.divideConfiguration, state.divideConf);
    this.#vcpu.set(Ioctl.setLapic, view, "KVM_SET_LAPIC");
  }

  /** Remembers the registers of an APIC that has never run. */
  rememberPowerOn(): void {
    this.#powerOn = this.save();
  }

  reset(): void {
    if (this.#powerOn === undefined) throw new Error("The APIC's power-on state is not known");
    this.load(this.#powerOn);
  }

  /** The APIC's mode must be right before its registers are: they look different in x2APIC mode. */
  #loadBase(base: number): void {
    const sregs = this.#vcpu.get(Ioctl.getSregs, SREGS_SIZE, "KVM_GET_SREGS");
    if (sregs.getUint32(SREGS_APIC_BASE, true) === base) return;
    sregs.setUint32(SREGS_APIC_BASE, base, true);
    this.#vcpu.set(Ioctl.setSregs, sregs, "KVM_SET_SREGS");
  }
}

/** Virtual-clock ns at which a one-shot or periodic timer fires next, 0 if it will not. */
function nextShot(state: ApicState): bigint {
  const timer = state.lvt[0] ?? 0;
  if ((timer & TIMER_DEADLINE) !== 0 || state.initialCount === 0) return 0n;
  return state.initialCountLoadTime + (BigInt(state.initialCount) << BigInt(state.countShift));
}
