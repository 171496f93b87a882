/** The interrupts of virtio devices (ffi/virtio_interrupt.c). */
import { native } from "./library.ts";
import { SystemError, unwrap } from "./errors.ts";
import { type EventLoop, Events, type Watch } from "./event_loop.ts";
import { createEvent } from "./event_descriptor.ts";
import { read } from "./file.ts";
import { detachMemory, memoryAt, NativeHandle } from "./handle.ts";
import type { Fd } from "./descriptor.ts";
import type { NativeVector } from "./message_vector.ts";

/** Why a guest is interrupted: bits of virtio-mmio's InterruptStatus and of PCI's ISR status. */
export const InterruptBits = { queue: 1, configuration: 2 } as const;

/** What interrupts the guest: the configuration's change, or work that a queue has done. */
export type InterruptCause = "configuration" | { readonly queue: number };

/** Where interrupts of a device go. */
export type InterruptWay =
  /** An input of KVM's interrupt controllers. */
  | number
  /** The message that {@linkcode DeviceInterrupt.route} returns; nobody is interrupted without one. */
  | undefined
  /** A function of PCI: vectors of its own, or a line that the isolate sets. */
  | "function";

/** QEMU says with a change of configuration that queues may have work too. */
const CONFIGURATION_BITS = InterruptBits.configuration | InterruptBits.queue;
const CONFIGURATION_CAUSE = 0;

/** A device's interrupt: why it is asserted, and its way to the guest. Threads of the C library assert it. */
export class DeviceInterrupt implements Disposable {
  readonly #handle: NativeHandle;
  readonly #status: Int32Array<ArrayBuffer>;
  readonly #resources = new DisposableStack();
  readonly #attention: Fd;

  /**
   * Interrupts KVM's virtual machine `vm`, if there is one. `queues`: how many queues can have vectors, for a
   * function of PCI.
   */
  constructor(vm: Fd | undefined, way: InterruptWay, queues = 0) {
    using undo = new DisposableStack();
    this.#attention = undo.use(createEvent()).fd;
    const BY_MESSAGE = -1;
    const BY_FUNCTION = -2;
    const gsi = way === "function" ? BY_FUNCTION : way ?? BY_MESSAGE;
    const handle = unwrap(
      native.molt_interrupt_create(vm ?? -1, gsi, this.#attention, queues + 1),
      "Could not create an interrupt",
    );
    const status = memoryAt(handle, 4);
    this.#status = new Int32Array(status);
    this.#handle = undo.use(
      new NativeHandle("an interrupt", handle, (handle) => {
        detachMemory(status);
        native.molt_interrupt_destroy(handle);
      }),
    );
    this.#resources.use(undo.move());
  }

  /**
   * Calls `failed` when KVM has refused an interrupt: once, until {@linkcode restore}. Calls `lineChanged` when
   * a function of PCI is to set its line by the status. To be disposed before the interrupt is.
   */
  watch(
    loop: EventLoop,
    failed: (fault: unknown) => void,
    lineChanged: () => void = () => {},
  ): Watch {
    return loop.watch(this.#attention, Events.readable, () => {
      read(this.#attention, new Uint8Array(8));
      const errno = native.molt_interrupt_error(this.handle);
      if (errno !== 0) failed(new SystemError("Could not interrupt the guest", errno));
      lineChanged();
    }, failed);
  }

  get handle(): bigint {
    return this.#handle.value;
  }

  /** vCPU threads answer InterruptStatus and InterruptACK of the registers at `address` themselves. */
  attach(address: number): void {
    unwrap(
      native.molt_interrupt_attach(this.handle, BigInt(address)),
      () => `There is no virtio-mmio transport at 0x${address.toString(16)}`,
    );
  }

  /** Why it is asserted: {@linkcode InterruptBits}. */
  get status(): number {
    return Atomics.load(this.#status, 0);
  }

  /** The configuration has changed. */
  configurationChanged(): void {
    native.molt_interrupt_raise(this.handle, CONFIGURATION_BITS, CONFIGURATION_CAUSE);
  }

  /** Queue `index` has used buffers. */
  queueUsed(index: number): void {
    native.molt_interrupt_raise(this.handle, InterruptBits.queue, index + 1);
  }

  /** The guest has seen `bits`: it wrote them to InterruptACK, or read them from PCI's ISR status. */
  acknowledge(bits: number): void {
    native.molt_interrupt_acknowledge(this.handle, bits >>> 0);
  }

  /** `cause` raises `vector` from now on, once vectors are enabled. The vector must outlive that. */
  assign(cause: InterruptCause, vector: NativeVector | undefined): void {
    const number = cause === "configuration" ? CONFIGURATION_CAUSE : cause.queue + 1;
    unwrap(
      native.molt_interrupt_assign(this.handle, number, vector?.handle ?? 0n),
      () => `The device has no cause ${number} of interrupts`,
    );
  }

  /** MSI-X of the function is enabled, or is not: then there are no vectors, and the line counts. */
  enableVectors(on: boolean): void {
    native.molt_interrupt_enable_vectors(this.handle, on ? 1 : 0);
  }

  /** Gives the status a value after a reset or a load, and the guest the level that goes with it. */
  restore(status: number): void {
    native.molt_interrupt_restore(this.handle, status >>> 0);
  }

  /** The guest programmed the I/O APIC's pin: its message, `undefined` while the pin is masked. */
  route(message: { readonly address: number; readonly data: number } | undefined): void {
    native.molt_interrupt_route(this.handle, message?.address ?? 0, message?.data ?? 0);
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}
