/** A virtio device with its transport, memory and event loop in this process: no virtual machine. */
import { DeviceInterrupt } from "../../../../src/native/device_interrupt.ts";
import { EventLoop } from "../../../../src/native/event_loop.ts";
import { Mapping } from "../../../../src/native/mapping.ts";
import { createDeviceMemory } from "../../../../src/memory/device_memory.ts";
import { GuestMemory } from "../../../../src/memory/guest_memory.ts";
import { RamBlock } from "../../../../src/memory/ram_block.ts";
import type { DeviceMemory } from "../../../../src/native/device_memory.ts";
import { StateReader } from "../../../../src/vmstate/vmstate.ts";
import { type AccessSize, DeviceBusyError } from "../../../../src/devices/device.ts";
import type { VirtioDevice } from "../../../../src/devices/virtio/device.ts";
import { VirtioMmio } from "../../../../src/devices/virtio/mmio.ts";
import { type DriverBus, VirtioDriver } from "../../../support/virtio_driver.ts";
import { encode } from "../saved_state.ts";

const MEBIBYTE = 1 << 20;

/** Guest RAM in two pieces that touch: the first mebibyte and the rest. Nothing lies behind. */
export class WorkbenchMemory implements Disposable {
  readonly guest: GuestMemory;
  readonly devices: DeviceMemory;
  readonly #resources = new DisposableStack();

  constructor(size = 4 * MEBIBYTE) {
    const rest = size - MEBIBYTE;
    const block = (name: string, size: number) =>
      this.#resources.use(
        new RamBlock({
          name,
          backing: { kind: "private" },
          mapping: new Mapping({ kind: "anonymous" }, size, name),
        }),
      );
    this.guest = new GuestMemory([
      { address: 0, size: MEBIBYTE, block: block("low", MEBIBYTE), blockOffset: 0 },
      { address: MEBIBYTE, size: rest, block: block("high", rest), blockOffset: 0 },
    ]);
    this.devices = createDeviceMemory(this.guest, this.#resources);
  }

  [Symbol.dispose](): void {
    this.#resources[Symbol.dispose]();
  }
}

/** What a device is created with. */
export interface WorkbenchDependencies {
  readonly memory: WorkbenchMemory;
  readonly loop: EventLoop;
}

/** The place at which the transport appears on the bus. */
export const WORKBENCH_BASE = 0x1000_0000;

/** A device under test. */
export class Workbench<Own> implements AsyncDisposable {
  readonly memory: WorkbenchMemory;
  readonly loop: EventLoop;
  readonly transport: VirtioMmio<Own>;
  readonly interrupt = new DeviceInterrupt(undefined, undefined);
  readonly messages: string[] = [];
  /** What would have stopped the machine. */
  readonly faults: unknown[] = [];
  #requestsEnded = Promise.withResolvers<void>();
  readonly driver: VirtioDriver;
  /** The loop's run, if the loop is this workbench's. */
  readonly #running: Promise<void> | undefined;
  readonly #ownsMemory: boolean;

  /** `memory`: that of a device before this one, whose guest goes on with this one. */
  constructor(
    create: (dependencies: WorkbenchDependencies) => VirtioDevice<Own>,
    { legacy = false, memory, start = true, memorySize, loop }: {
      legacy?: boolean;
      memory?: WorkbenchMemory;
      start?: boolean;
      /** Bytes of RAM. */
      memorySize?: number;
      /** One that runs already, and outlives the workbench. */
      loop?: EventLoop;
    } = {},
  ) {
    this.loop = loop ?? new EventLoop();
    this.#ownsMemory = memory === undefined;
    this.memory = memory ?? new WorkbenchMemory(memorySize);
    this.transport = new VirtioMmio(create({ memory: this.memory, loop: this.loop }), {
      address: 0xfeb00e00,
      legacy,
      memory: this.memory.guest,
      deviceMemory: this.memory.devices,
      interrupt: this.interrupt,
      loop: this.loop,
      report: (message) => this.messages.push(message),
      faulted: (fault) => this.faults.push(fault),
      requestsEnded: () => {
        this.#requestsEnded.resolve();
        this.#requestsEnded = Promise.withResolvers();
      },
    });
    this.transport.reset();
    if (start) this.transport.runStateChanged(true);
    this.#running = loop ? undefined : this.loop.run();
    this.driver = new VirtioDriver(this.bus, WORKBENCH_BASE, 0x10000);
  }

  /** Resolves when the requests that were under way in stopped queues have ended. */
  get requestsEnded(): Promise<void> {
    return this.#requestsEnded.promise;
  }

  /** A guest's access, which waits as it would in a machine while the device has requests under way. */
  async #write(address: number, size: AccessSize, value: number): Promise<void> {
    for (;;) {
      try {
        this.transport.write(address - WORKBENCH_BASE, size, value);
        return;
      } catch (error) {
        if (!(error instanceof DeviceBusyError)) throw error;
        await this.requestsEnded;
      }
    }
  }

  get bus(): DriverBus {
    const { guest } = this.memory;
    return {
      read: (address, size) => Promise.resolve(this.transport.read(address - WORKBENCH_BASE, size)),
      write: (address, size, value) => this.#write(address, size, value),
      readMemory: (address, length) => Promise.resolve(guest.read(address, length)),
      writeMemory: (address, bytes) => Promise.resolve(guest.write(address, bytes)),
    };
  }

  /** The device's section, as it goes over the wire. The device is stopped for it. */
  save(): Uint8Array<ArrayBuffer> {
    this.transport.runStateChanged(false);
    return encode(this.transport);
  }

  load(bytes: Uint8Array<ArrayBuffer>): void {
    const { description } = this.transport;
    // In a stream something follows; a reader looks at its first byte.
    const reader = new StateReader(Uint8Array.of(...bytes, 0));
    this.transport.load(description.decode(reader, description.version));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.transport.runStateChanged(false);
    this.transport[Symbol.dispose]();
    if (this.#running) {
      this.loop.stop();
      await this.#running;
      this.loop[Symbol.dispose]();
    }
    if (this.#ownsMemory) this.memory[Symbol.dispose]();
  }
}
