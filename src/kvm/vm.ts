/** A KVM virtual machine: memory slots, interrupt controllers, clock and notifications. */
import { ioctl, ioctlValue } from "../native/control.ts";
import { Descriptor, type Fd } from "../native/descriptor.ts";
import { DIRTY_RING_ENTRY } from "../native/dirty.ts";
import { Capability, Ioctl, IrqChip } from "./constants.ts";
import type { Kvm } from "./kvm.ts";

/** Where the kernel may put pages of its own, just below the BIOS area as QEMU places them. */
const IDENTITY_MAP_ADDRESS = 0xfeffc000;
const TSS_ADDRESS = IDENTITY_MAP_ADDRESS + 0x1000;

/** A slot of guest-physical memory backed by this process's memory. */
export interface MemorySlot {
  readonly slot: number;
  /** {@linkcode MemoryFlag} bits. */
  readonly flags: number;
  readonly guestAddress: number;
  /** Bytes; 0 deletes the slot. */
  readonly size: number;
  readonly hostAddress: bigint;
}

/** KVM's clock (struct kvm_clock_data). */
export interface ClockData {
  /** ns of the guest's kvmclock. */
  readonly clock: bigint;
  /** KVM_CLOCK_* bits; bit 1: the clock follows a stable TSC. */
  readonly flags: number;
}

/** A guest write that KVM turns into an eventfd's signal instead of an exit. */
export interface IoEvent {
  readonly address: number;
  readonly size: number;
  readonly fd: Fd;
  /** Only writes of this value count. */
  readonly value?: number;
  /** An I/O port rather than memory. */
  readonly port?: boolean;
}

/** The virtual machine. */
export class KvmVm implements Disposable {
  readonly fd: Fd;
  readonly #descriptor: Descriptor;

  constructor(kvm: Kvm) {
    this.#descriptor = kvm.createVm();
    this.fd = this.#descriptor.fd;
    const address = new Uint8Array(8);
    new DataView(address.buffer).setBigUint64(0, BigInt(IDENTITY_MAP_ADDRESS), true);
    if (kvm.capability(Capability.setIdentityMapAddress) > 0) {
      ioctl(this.fd, Ioctl.setIdentityMapAddress, address, "KVM_SET_IDENTITY_MAP_ADDR");
    }
    if (kvm.capability(Capability.setTssAddress) > 0) {
      ioctlValue(this.fd, Ioctl.setTssAddress, TSS_ADDRESS, "KVM_SET_TSS_ADDR");
    }
  }

  /** Creates, changes or (size 0) deletes a memory slot. */
  setMemorySlot(slot: MemorySlot): void {
    const bytes = new Uint8Array(32);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, slot.slot, true);
    view.setUint32(4, slot.flags, true);
    view.setBigUint64(8, BigInt(slot.guestAddress), true);
    view.setBigUint64(16, BigInt(slot.size), true);
    view.setBigUint64(24, slot.hostAddress, true);
    ioctl(this.fd, Ioctl.setUserMemoryRegion, bytes, "KVM_SET_USER_MEMORY_REGION");
  }

  /** Creates the in-kernel PICs, I/O APIC and, with each vCPU, local APIC. */
  createIrqchip(): void {
    ioctlValue(this.fd, Ioctl.createIrqchip, 0, "KVM_CREATE_IRQCHIP");
  }

  /**
   * Wires the first 24 global system interrupts as a PC has them: 0 to 15 to the PICs, all to the
   * I/O APIC's pin of the same number, but the timer's (0) to pin 2.
   */
  setStandardRouting(): void {
    const routes: [gsi: number, chip: number, pin: number][] = [];
    for (let gsi = 0; gsi < 16; gsi++) {
      const CASCADE = 2;
      if (gsi !== CASCADE) routes.push([gsi, gsi >> 3, gsi & 7]);
    }
    for (let gsi = 0; gsi < 24; gsi++) {
      if (gsi !== 2) routes.push([gsi, IrqChip.ioapic, gsi === 0 ? 2 : gsi]);
    }
    const KVM_IRQ_ROUTING_IRQCHIP = 1;
    const bytes = new Uint8Array(8 + 48 * routes.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, routes.length, true);
    routes.forEach(([gsi, chip, pin], i) => {
      view.setUint32(8 + 48 * i, gsi, true);
      view.setUint32(12 + 48 * i, KVM_IRQ_ROUTING_IRQCHIP, true);
      view.setUint32(24 + 48 * i, chip, true);
      view.setUint32(28 + 48 * i, pin, true);
    });
    ioctl(this.fd, Ioctl.setGsiRouting, bytes, "KVM_SET_GSI_ROUTING");
  }

  /** Turns on a capability of the virtual machine. */
  enableCapability(capability: number, ...values: number[]): void {
    const bytes = new Uint8Array(104);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, capability, true);
    values.forEach((value, i) => view.setBigUint64(8 + 8 * i, BigInt(value), true));
    ioctl(this.fd, Ioctl.enableCapability, bytes, `KVM_ENABLE_CAP ${capability}`);
  }

  /**
   * Gives each vCPU created from now on a dirty ring of `entries` entries (a power of two).
   * Returns false, having changed nothing, if KVM has none.
   */
  enableDirtyRings(kvm: Kvm, entries: number): boolean {
    const names = [Capability.dirtyLogRingAcquireRelease, Capability.dirtyLogRing];
    const capability = names.find((name) => kvm.capability(name) > 0);
    if (capability === undefined) return false;
    const maximum = kvm.capability(capability) / DIRTY_RING_ENTRY;
    if (entries > maximum) {
      throw new Error(
        `KVM dirty ring size ${entries} too big (maximum is ${maximum}).  ` +
          "Please use a smaller value.",
      );
    }
    this.enableCapability(capability, entries * DIRTY_RING_ENTRY);
    return true;
  }

  /** Creates the in-kernel 8254. Its speaker port stays the machine's. */
  createPit(): void {
    const KVM_PIT_SPEAKER_DUMMY = 1;
    const bytes = new Uint8Array(64);
    new DataView(bytes.buffer).setUint32(0, KVM_PIT_SPEAKER_DUMMY, true);
    ioctl(this.fd, Ioctl.createPit2, bytes, "KVM_CREATE_PIT2");
  }

  /** A new vCPU's descriptor. `id` is also its local APIC's id. */
  createVcpu(id: number): Descriptor {
    return new Descriptor(ioctlValue(this.fd, Ioctl.createVcpu, id, "KVM_CREATE_VCPU"));
  }

  readonly #irqLevel = new Uint8Array(8);
  readonly #irqLevelView = new DataView(this.#irqLevel.buffer);

  /** Raises or lowers a global system interrupt of the in-kernel controllers. */
  setIrqLine(gsi: number, level: boolean): void {
    this.#irqLevelView.setUint32(0, gsi, true);
    this.#irqLevelView.setUint32(4, level ? 1 : 0, true);
    ioctl(this.fd, Ioctl.irqLine, this.#irqLevel, "KVM_IRQ_LINE");
  }

  /** Delivers a message-signalled interrupt. */
  signalMsi(address: number, data: number): void {
    const bytes = new Uint8Array(32);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, address, true);
    view.setUint32(8, data, true);
    ioctl(this.fd, Ioctl.signalMsi, bytes, "KVM_SIGNAL_MSI");
  }

  /** Connects an eventfd to an interrupt: each signal is an edge on `gsi`. `on` false undoes it. */
  setIrqFd(fd: Fd, gsi: number, on: boolean): void {
    const KVM_IRQFD_FLAG_DEASSIGN = 1;
    const bytes = new Uint8Array(32);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, fd, true);
    view.setUint32(4, gsi, true);
    view.setUint32(8, on ? 0 : KVM_IRQFD_FLAG_DEASSIGN, true);
    ioctl(this.fd, Ioctl.irqfd, bytes, "KVM_IRQFD");
  }

  /** Turns guest writes into eventfd signals; `on` false undoes it. */
  setIoEvent(event: IoEvent, on: boolean): void {
    const KVM_IOEVENTFD_FLAG_DATAMATCH = 1;
    const KVM_IOEVENTFD_FLAG_PIO = 2;
    const KVM_IOEVENTFD_FLAG_DEASSIGN = 4;
    const bytes = new Uint8Array(64);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt(event.value ?? 0), true);
    view.setBigUint64(8, BigInt(event.address), true);
    view.setUint32(16, event.size, true);
    view.setInt32(20, event.fd, true);
    view.setUint32(
      24,
      (event.value === undefined ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH) |
        (event.port ? KVM_IOEVENTFD_FLAG_PIO : 0) | (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
      true,
    );
    ioctl(this.fd, Ioctl.ioeventfd, bytes, "KVM_IOEVENTFD");
  }

  /** The guest's kvmclock. */
  getClock(): ClockData {
    const bytes = new Uint8Array(48);
    ioctl(this.fd, Ioctl.getClock, bytes, "KVM_GET_CLOCK");
    const view = new DataView(bytes.buffer);
    return { clock: view.getBigUint64(0, true), flags: view.getUint32(8, true) };
  }

  /** Sets the guest's kvmclock in ns. */
  setClock(clock: bigint): void {
    const bytes = new Uint8Array(48);
    new DataView(bytes.buffer).setBigUint64(0, clock, true);
    ioctl(this.fd, Ioctl.setClock, bytes, "KVM_SET_CLOCK");
  }

  /** The registers of an in-kernel interrupt controller: struct kvm_pic_state or kvm_ioapic_state. */
  getIrqchip(chip: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(520);
    new DataView(bytes.buffer).setUint32(0, chip, true);
    ioctl(this.fd, Ioctl.getIrqchip, bytes, "KVM_GET_IRQCHIP");
    return bytes.subarray(8, 8 + (chip === IrqChip.ioapic ? 216 : 16));
  }

  setIrqchip(chip: number, state: Uint8Array): void {
    const bytes = new Uint8Array(520);
    new DataView(bytes.buffer).setUint32(0, chip, true);
    bytes.set(state, 8);
    ioctl(this.fd, Ioctl.setIrqchip, bytes, "KVM_SET_IRQCHIP");
  }

  /** The in-kernel 8254's state: struct kvm_pit_state2. */
  getPit(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(112);
    ioctl(this.fd, Ioctl.getPit2, bytes, "KVM_GET_PIT2");
    return bytes;
  }

  setPit(state: Uint8Array<ArrayBuffer>): void {
    ioctl(this.fd, Ioctl.setPit2, state, "KVM_SET_PIT2");
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
  }
}
