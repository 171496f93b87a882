/** Answers a vCPU's exits: port and memory accesses go to the buses, the rest to the machine. */
import { Exit } from "../kvm/constants.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { AccessSize } from "../devices/device.ts";
import type { Bus } from "./bus.ts";

const EFAULT = 14;

/** An exit that is not an access to a register. */
export type UnusualExit =
  /** Triple fault: the processor shut down. */
  | { readonly kind: "shutdown" }
  /** KVM cannot go on with the vCPU. */
  | { readonly kind: "error"; readonly reason: string }
  /** The vCPU's dirty ring has no room. */
  | { readonly kind: "dirty ring full" }
  /** The guest ended an interrupt that a user-space I/O APIC delivered (split irqchip). */
  | { readonly kind: "end of interrupt"; readonly vector: number };

/** The address spaces that exits go to. */
export interface Buses {
  readonly ports: Bus;
  readonly memory: Bus;
}

/** struct kvm_run's `io`: direction, size, port, count, offset of the data. */
function servePort(vcpu: Vcpu, ports: Bus): void {
  const { run } = vcpu.thread;
  const at = vcpu.exitData;
  const write = run.getUint8(at) === 1;
  const size = run.getUint8(at + 1) as AccessSize;
  const port = run.getUint16(at + 2, true);
  const count = run.getUint32(at + 4, true);
  let data = run.getUint32(at + 8, true);
  for (let i = 0; i < count; i++, data += size) {
    if (write) ports.write(port, size, getValue(run, data, size));
    else setValue(run, data, size, ports.read(port, size));
  }
}

/** struct kvm_run's `mmio`: address, data, length, direction. */
function serveMemory(vcpu: Vcpu, memory: Bus): void {
  const { run } = vcpu.thread;
  const at = vcpu.exitData;
  const address = run.getUint32(at, true) + run.getUint32(at + 4, true) * 2 ** 32;
  const length = run.getUint32(at + 16, true);
  const write = run.getUint8(at + 20) !== 0;
  if (length === 8) {
    if (write) memory.write64(address, run.getBigUint64(at + 8, true));
    else run.setBigUint64(at + 8, memory.read64(address), true);
    return;
  }
  for (let done = 0; done < length;) {
    const size = accessSize(length - done);
    const data = at + 8 + done;
    if (write) memory.write(address + done, size, getValue(run, data, size));
    else setValue(run, data, size, memory.read(address + done, size));
    done += size;
  }
}

function accessSize(length: number): AccessSize {
  return length >= 4 ? 4 : length >= 2 ? 2 : 1;
}

function getValue(run: DataView, at: number, size: AccessSize): number {
  switch (size) {
    case 1:
      return run.getUint8(at);
    case 2:
      return run.getUint16(at, true);
    case 4:
      return run.getUint32(at, true);
  }
}

function setValue(run: DataView, at: number, size: AccessSize, value: number): void {
  switch (size) {
    case 1:
      return run.setUint8(at, value);
    case 2:
      return run.setUint16(at, value, true);
    case 4:
      return run.setUint32(at, value, true);
  }
}

/** Answers one exit. What is returned, if anything, is for the machine to act on. */
export function serveExit(vcpu: Vcpu, buses: Buses): UnusualExit | undefined {
  const error = vcpu.thread.runError;
  if (error === -EFAULT) {
    const reason = "KVM could not access the guest's memory (EFAULT): was its file cut off?";
    return { kind: "error", reason };
  }
  if (error < 0) return { kind: "error", reason: `KVM_RUN failed with errno ${-error}` };
  const { run } = vcpu.thread;
  const at = vcpu.exitData;
  switch (vcpu.exitReason) {
    case Exit.io:
      servePort(vcpu, buses.ports);
      return undefined;
    case Exit.mmio:
      serveMemory(vcpu, buses.memory);
      return undefined;
    case Exit.interruptWindowOpen:
    case Exit.interrupted:
      return undefined;
    case Exit.shutdown:
      return { kind: "shutdown" };
    case Exit.dirtyRingFull:
      return { kind: "dirty ring full" };
    case Exit.ioapicEoi:
      return { kind: "end of interrupt", vector: run.getUint8(at) };
    case Exit.internalError:
      return { kind: "error", reason: internalError(run.getUint32(at, true)) };
    case Exit.failEntry: {
      const reason = run.getBigUint64(at, true).toString(16);
      return { kind: "error", reason: `KVM could not enter the guest: hardware error 0x${reason}` };
    }
    default:
      return { kind: "error", reason: `unhandled KVM exit ${vcpu.exitReason}` };
  }
}

/** What the vCPU was doing when it exited, for messages. */
export function describeExit(vcpu: Vcpu): string {
  const { run } = vcpu.thread;
  const at = vcpu.exitData;
  switch (vcpu.exitReason) {
    case Exit.io:
      return `access to I/O port 0x${run.getUint16(at + 2, true).toString(16)}`;
    case Exit.mmio:
      return `access to address 0x${run.getBigUint64(at, true).toString(16)}`;
    default:
      return `KVM exit ${vcpu.exitReason}`;
  }
}

/** KVM_INTERNAL_ERROR_* suberrors. */
function internalError(suberror: number): string {
  const names: Readonly<Record<number, string>> = {
    1: "KVM could not emulate an instruction",
    2: "two exceptions came at once",
    3: "KVM could not deliver an event",
    4: "KVM met an unexpected exit",
  };
  return names[suberror] ?? `KVM internal error ${suberror}`;
}
