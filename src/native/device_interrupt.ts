/** The interrupts of virtio-mmio devices (ffi/virtio_interrupt.c). */
import { native } from "./library.ts";
import { SystemError, unwrap } from "./errors.ts";
import { type EventLoop, Events, type Watch } from "./event_loop.ts";
import { createEvent } from "./event_descriptor.ts";
import { read } from "./file.ts";
import { detachMemory, memoryAt, NativeHandle } from "./handle.ts";
import type { Fd } from "./descriptor.ts";

/** Bits of InterruptStatus. */
export const InterruptBits = { queue: 1, configuration: 2 } as const;

/** A device's register InterruptStatus and its way to the guest. Threads of the C library assert it. */
export class DeviceInterrupt implements Disposable {
  readonly #handle: NativeHandle;
  readonly #status: Int32Array<ArrayBuffer>;
  readonly #resources = new DisposableStack();
  readonly #attention: Fd;

  /**
   * By input `gsi` of the interrupt controllers of KVM's virtual machine `vm`, or, with `gsi`
   * `undefined`, by the message that {@linkcode route} returns. Without a `vm` nobody is interrupted.
   */
  constructor(vm: Fd | undefined, gsi: number | undefined) {
    using undo = new DisposableStack();
    this.#attention = undo.use(createEvent()).fd;
    const handle = unwrap(
      native.molt_interrupt_create(vm ?? -1, gsi ?? -1, this.#attention),
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
   * Calls `failed` when KVM has refused an interrupt: once, until {@linkcode restore}. To be disposed before
   * the interrupt is.
   */
  watch(loop: EventLoop, failed: (fault: unknown) => void): Watch {
    return loop.watch(this.#attention, Events.readable, () => {
      read(this.#attention, new Uint8Array(8));
      const errno = native.molt_interrupt_error(this.handle);
      if (errno !== 0) failed(new SystemError("Could not interrupt the guest", errno));
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

  /** InterruptStatus. */
  get status(): number {
    return Atomics.load(this.#status, 0);
  }

  /** Sets bits of InterruptStatus. */
  raise(bits: number): void {
    native.molt_interrupt_raise(this.handle, bits);
  }

  /** The guest wrote InterruptACK. */
  acknowledge(bits: number): void {
    native.molt_interrupt_acknowledge(this.handle, bits >>> 0);
  }

  /** Gives InterruptStatus a value after a reset or a load, and the guest the level that goes with it. */
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
