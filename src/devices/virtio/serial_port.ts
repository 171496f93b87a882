/**
 * One port of virtio-serial between its queues and its character device.
 *
 *   output: request popped -> written to the backend -> returned; a port whose backend is full keeps the
 *           request and goes on when there is room (it is saved with the device); a console drops what
 *           the backend does not take, because Linux' consoles wait with locks held
 *   input:  buffer popped when the backend asks for room -> filled -> returned; one that was not filled
 *           goes back to the queue when it stops
 */
import type {
  CharacterBackend,
  CharacterEvent,
  CharacterFrontend,
} from "../../backends/character.ts";
import type { GuestMemory } from "../../memory/guest_memory.ts";
import { type QueueElement, VirtqueueError } from "../../native/virtqueue.ts";
import { DeviceStateError } from "../device.ts";
import { gather, isRam, scatter, totalLength } from "./elements.ts";
import type { Virtqueue } from "./queue.ts";
import type { QueueElementState } from "./queue_element_state.ts";

/** Most bytes of output handed to the backend at a time. */
const CHUNK = 65536;
/** Buffers without room that are returned before others get their turn. */
const TURN = 256;

/** A port as the machine wants it. */
export interface PortOptions {
  readonly number: number;
  /** By which programs in the guest find it. */
  readonly name: string | undefined;
  readonly isConsole: boolean;
  /** Absent: output is taken and lost. */
  readonly backend: CharacterBackend | undefined;
  /** A program in the guest opened or closed the port. */
  readonly guestConnectionChanged: (open: boolean) => void;
}

/** What a port reports to its device. */
export interface PortHost {
  openChanged(port: SerialPort): void;
  fail(error: VirtqueueError): void;
}

/** A port's saved state. */
export interface SerialPortState {
  id: number;
  guestConnected: number;
  hostConnected: number;
  hasElement: number;
  element: {
    iovIndex: number;
    iovOffset: bigint;
    element: QueueElementState;
  } | undefined;
}

/** Output that the backend has not taken yet. */
interface Unsent {
  readonly element: QueueElement;
  /** Bytes that are gone. */
  done: number;
}

/** A port. */
export class SerialPort implements CharacterFrontend, Disposable {
  readonly number: number;
  readonly name: string | undefined;
  readonly isConsole: boolean;
  /** The driver has no control queues: nobody says that the port is open. */
  alwaysOpen = false;
  readonly #options: PortOptions;
  readonly #host: PortHost;
  #memory: GuestMemory | undefined;
  #input: Virtqueue | undefined;
  #output: Virtqueue | undefined;
  #guestConnected = false;
  #hostConnected: boolean;
  #unsent: Unsent | undefined;
  /** A buffer that waits to be filled. */
  #room: QueueElement | undefined;

  constructor(options: PortOptions, host: PortHost) {
    this.number = options.number;
    this.name = options.name;
    this.isConsole = options.isConsole;
    this.#options = options;
    this.#host = host;
    this.#hostConnected = options.isConsole && options.backend !== undefined;
  }

  /** Gives the port its queues and connects it to its character device. */
  attach(memory: GuestMemory, input: Virtqueue | undefined, output: Virtqueue | undefined): void {
    this.#memory = memory;
    this.#input = input;
    this.#output = output;
    this.#options.backend?.attach(this);
  }

  /** Whether somebody is at the host's side. Consoles are not particular about that. */
  get hostConnected(): boolean {
    return this.#hostConnected;
  }

  setGuestConnected(open: boolean): void {
    if (open !== this.#guestConnected) {
      this.#guestConnected = open;
      this.#options.guestConnectionChanged(open);
    }
    if (open) this.#options.backend?.acceptInput();
  }

  queueStarted(queue: Virtqueue): void {
    if (queue === this.#output) this.notified(queue);
    else this.#options.backend?.acceptInput();
  }

  queueStopping(queue: Virtqueue): void {
    if (queue !== this.#input || this.#room === undefined) return;
    queue.native.unpop();
    this.#room = undefined;
  }

  /** The driver put something into a queue. Throws a VirtqueueError if it is no request. */
  notified(queue: Virtqueue): void {
    if (queue === this.#output) this.#flush();
    else this.#options.backend?.acceptInput();
  }

  /** Output past the queues. */
  writeThrough(bytes: Uint8Array<ArrayBuffer>): void {
    this.#options.backend?.write(bytes);
  }

  canReceive(): number {
    const queue = this.#input;
    if (!queue?.live || !(this.#guestConnected || this.alwaysOpen)) return 0;
    try {
      this.#room ??= this.#nextRoom(queue);
      return this.#room ? totalLength(this.#room.in) : 0;
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.#host.fail(error);
      return 0;
    }
  }

  receive(bytes: Uint8Array<ArrayBuffer>): void {
    const room = this.#room;
    if (room === undefined || !this.#input?.live || this.#memory === undefined) return;
    this.#room = undefined;
    this.#input.push(room, scatter(this.#memory, room.in, bytes));
  }

  event(event: CharacterEvent): void {
    if (this.isConsole || (event !== "opened" && event !== "closed")) return;
    const open = event === "opened";
    if (open === this.#hostConnected) return;
    this.#hostConnected = open;
    if (!open) this.#tryFlush();
    this.#host.openChanged(this);
  }

  reset(): void {
    this.#unsent = undefined;
    this.#room = undefined;
    this.setGuestConnected(false);
  }

  save(): SerialPortState {
    const { number: id } = this;
    const connections = {
      guestConnected: this.#guestConnected ? 1 : 0,
      hostConnected: this.#hostConnected ? 1 : 0,
    };
    if (this.#unsent === undefined) {
      return { id, ...connections, hasElement: 0, element: undefined };
    }
    const { element, done } = this.#unsent;
    const { index, offset } = place(element, done);
    return {
      id,
      ...connections,
      hasElement: 1,
      element: {
        iovIndex: index,
        iovOffset: BigInt(offset),
        element: {
          index: element.head,
          out: element.out.map(({ address, length }) => ({
            address: BigInt(address),
            length: BigInt(length),
          })),
          in: element.in.map(({ address, length }) => ({
            address: BigInt(address),
            length: BigInt(length),
          })),
          descriptors: undefined,
        },
      },
    };
  }

  load(state: SerialPortState): void {
    this.#room = undefined;
    this.#unsent = state.element && loadUnsent(state.element);
    const lost = this.#unsent?.element.out.find((buffer) =>
      this.#memory && !isRam(this.#memory, buffer)
    );
    if (lost) throw new DeviceStateError(`output at 0x${lost.address.toString(16)} is not in RAM`);
    this.setGuestConnected(state.guestConnected !== 0);
  }

  [Symbol.dispose](): void {
    this.#options.backend?.detach();
  }

  /** The next buffer with room. Empty ones are returned at once. */
  #nextRoom(queue: Virtqueue): QueueElement | undefined {
    for (let empty = 0; empty < TURN;) {
      const element = queue.pop();
      if (element === undefined) {
        if (!queue.native.enableNotifications()) return undefined;
      } else if (element.in.length > 0) {
        return element;
      } else {
        queue.push(element, 0);
        empty++;
      }
    }
    // A driver that goes on like this must not hold everything else up.
    queue.signal();
    return undefined;
  }

  #tryFlush(): void {
    try {
      this.#flush();
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.#host.fail(error);
    }
  }

  /** Hands output to the backend until there is none left, or the backend takes no more. */
  #flush(): void {
    const queue = this.#output;
    if (!queue?.live) return;
    if (this.#unsent && !this.#finish(queue, this.#unsent)) return;
    queue.serve((element) => {
      this.#unsent = { element, done: 0 };
      return this.#finish(queue, this.#unsent);
    });
  }

  /** Sends and returns a request. False if the backend is full. */
  #finish(queue: Virtqueue, unsent: Unsent): boolean {
    if (!this.#send(unsent)) return false;
    this.#unsent = undefined;
    queue.push(unsent.element, 0);
    return true;
  }

  /** True if all of it was taken, or is to be dropped. */
  #send(unsent: Unsent): boolean {
    const { backend } = this.#options;
    if (backend === undefined || !this.#hostConnected || this.#memory === undefined) return true;
    const total = totalLength(unsent.element.out);
    while (unsent.done < total) {
      const bytes = gather(this.#memory, rest(unsent), CHUNK);
      const taken = this.isConsole
        ? backend.write(bytes)
        : backend.write(bytes, () => this.#tryFlush());
      if (taken < bytes.length && !this.isConsole) {
        unsent.done += taken;
        return false;
      }
      unsent.done += bytes.length;
    }
    return true;
  }
}

/** The buffers of output that has not gone. */
function rest({ element, done }: Unsent) {
  const { index, offset } = place(element, done);
  return element.out.slice(index).map(({ address, length }, i) =>
    i === 0 ? { address: address + offset, length: length - offset } : { address, length }
  );
}

/** Which buffer byte `done` is in, and where in it. */
function place(element: QueueElement, done: number): { index: number; offset: number } {
  let offset = done;
  for (const [index, { length }] of element.out.entries()) {
    if (offset < length) return { index, offset };
    offset -= length;
  }
  return { index: element.out.length, offset: 0 };
}

function loadUnsent(
  { iovIndex, iovOffset, element }: NonNullable<SerialPortState["element"]>,
): Unsent {
  const number = ({ address, length }: { address: bigint; length: bigint }) => ({
    address: Number(address),
    length: Number(length),
  });
  const out = element.out.map(number);
  const current = out[iovIndex];
  if (iovIndex > out.length || Number(iovOffset) > (current?.length ?? 0)) {
    throw new DeviceStateError(`output stopped at byte ${iovOffset} of buffer ${iovIndex}`);
  }
  const done = totalLength(out.slice(0, iovIndex)) + Number(iovOffset);
  return { element: { head: element.index, out, in: element.in.map(number) }, done };
}
