/** The in-kernel PICs and I/O APIC: struct kvm_pic_state and kvm_ioapic_state. */
import type { Resettable } from "../devices/device.ts";
import { type IoapicState, ioapicState } from "../devices/ioapic_state.ts";
import { type PicState, picState } from "../devices/pic_state.ts";
import type { SavedDevice } from "../vmstate/saved_device.ts";
import { IrqChip } from "./constants.ts";
import type { KvmVm } from "./vm.ts";

/** The fields of struct kvm_pic_state in its order, one byte each; `elcr_mask` follows. */
const picFields = [
  "lastIrr",
  "irr",
  "imr",
  "isr",
  "priorityAdd",
  "irqBase",
  "readRegSelect",
  "poll",
  "specialMask",
  "initState",
  "autoEoi",
  "rotateOnAutoEoi",
  "specialFullyNestedMode",
  "init4",
  "elcr",
] as const satisfies readonly (keyof PicState)[];
/** Inputs whose trigger mode can be changed, by chip. */
const elcrMasks = [0xf8, 0xde] as const;

/** One of the two i8259s. */
export class Pic implements SavedDevice<PicState>, Resettable {
  readonly idstr = "i8259";
  readonly instanceId: 0 | 1;
  readonly description = picState;
  readonly #vm: KvmVm;

  /** `chip` 0 is the master, 1 the slave. */
  constructor(vm: KvmVm, chip: 0 | 1) {
    this.instanceId = chip;
    this.#vm = vm;
  }

  save(): PicState {
    const bytes = this.#vm.getIrqchip(this.instanceId);
    const fields = Object.fromEntries(picFields.map((field, i) => [field, bytes[i] ?? 0]));
    return { ...powerOnPic, ...fields };
  }

  load(state: PicState): void {
    const bytes = picFields.map((field) => state[field]);
    this.#vm.setIrqchip(this.instanceId, Uint8Array.from([...bytes, elcrMasks[this.instanceId]]));
  }

  reset(): void {
    this.load(powerOnPic);
  }
}

const powerOnPic: PicState = {
  lastIrr: 0,
  irr: 0,
  imr: 0,
  isr: 0,
  priorityAdd: 0,
  irqBase: 0,
  readRegSelect: 0,
  poll: 0,
  specialMask: 0,
  initState: 0,
  autoEoi: 0,
  rotateOnAutoEoi: 0,
  specialFullyNestedMode: 0,
  init4: 0,
  singleMode: 0,
  elcr: 0,
  ltim: 0,
};

const PINS = 24;
const MASKED = 1n << 16n;
const DEFAULT_BASE = 0xfec00000n;

/** The I/O APIC of GSI 0 to 23. */
export class KernelIoapic implements SavedDevice<IoapicState>, Resettable {
  readonly idstr = "ioapic";
  readonly instanceId = 0;
  readonly description = ioapicState;
  readonly #vm: KvmVm;

  constructor(vm: KvmVm) {
    this.#vm = vm;
  }

  save(): IoapicState {
    const bytes = this.#vm.getIrqchip(IrqChip.ioapic);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return {
      id: view.getUint32(12, true) & 0xff,
      ioregsel: view.getUint32(8, true) & 0xff,
      irr: view.getUint32(16, true),
      ioredtbl: Array.from({ length: PINS }, (_, i) => view.getBigUint64(24 + 8 * i, true)),
    } as IoapicState;
  }

  load(state: IoapicState): void {
    const bytes = new Uint8Array(216);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, DEFAULT_BASE, true);
    view.setUint32(8, state.ioregsel, true);
    view.setUint32(12, state.id, true);
    view.setUint32(16, state.irr, true);
    state.ioredtbl.forEach((entry, i) => view.setBigUint64(24 + 8 * i, entry, true));
    this.#vm.setIrqchip(IrqChip.ioapic, bytes);
  }

  reset(): void {
    const ioredtbl = Array.from({ length: PINS }, () => MASKED);
    this.load({ id: 0, ioregsel: 0, irr: 0, ioredtbl } as IoapicState);
  }
}
