/** Tap interfaces (linux/if_tun.h). */
import { ioctl } from "./control.ts";
import { Descriptor, type Fd } from "./descriptor.ts";
import { SystemError, unwrap } from "./errors.ts";
import { openFile, OpenFlags, setNonBlocking } from "./file.ts";
import { native } from "./library.ts";

const TUNSETIFF = 0x400454can;
const TUNGETIFF = 0x800454d2n;
const TUNGETFEATURES = 0x800454cfn;
const TUNSETOFFLOAD = 0x400454d0n;
const TUNSETSNDBUF = 0x400454d4n;
const TUNSETVNETHDRSZ = 0x400454d8n;

const TUNSETQUEUE = 0x400454d9n;

const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_ATTACH_QUEUE = 0x0200;
const IFF_DETACH_QUEUE = 0x0400;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

/** struct ifreq: a name of 16 bytes, then the flags. */
const IFREQ_SIZE = 40;
const NAME_SIZE = 16;

/** TUN_F_* bits: what the reader of a tap can do with frames that are not finished. */
export const TapOffload = {
  checksum: 0x01,
  tso4: 0x02,
  tso6: 0x04,
  tsoEcn: 0x08,
  ufo: 0x10,
  uso4: 0x20,
  uso6: 0x40,
} as const;

/** One queue of a tap interface. */
export class TapQueue implements Disposable {
  readonly name: string;
  /** Frames have a virtio header. */
  readonly hasHeader: boolean;
  readonly #descriptor: Descriptor;

  /** Takes over a descriptor that was opened for an interface. Throws if it is not one. */
  constructor(descriptor: Descriptor) {
    const request = describe(descriptor.fd);
    const flags = flagsOf(request);
    if ((flags & IFF_TAP) === 0) {
      throw new Error(`descriptor ${descriptor.fd} is no tap interface`);
    }
    setNonBlocking(descriptor.fd, true);
    this.name = decodeName(request);
    this.hasHeader = (flags & IFF_VNET_HDR) !== 0;
    this.#descriptor = descriptor;
  }

  /**
   * Opens a queue of the interface `name`, which is made if there is none; an empty name lets the kernel
   * choose one.
   */
  static open(name: string, options: { header: boolean; multiqueue: boolean }): TapQueue {
    using undo = new DisposableStack();
    const descriptor = undo.use(
      openFile("/dev/net/tun", OpenFlags.readWrite | OpenFlags.nonBlocking),
    );
    const request = new Uint8Array(IFREQ_SIZE);
    request.set(new TextEncoder().encode(name).subarray(0, NAME_SIZE - 1));
    const flags = IFF_TAP | IFF_NO_PI | (options.header ? IFF_VNET_HDR : 0) |
      (options.multiqueue ? IFF_MULTI_QUEUE : 0);
    new DataView(request.buffer).setUint16(NAME_SIZE, flags, true);
    const shown = name === "" ? "tap%d" : name;
    ioctl(descriptor.fd, TUNSETIFF, request, `could not configure /dev/net/tun (${shown})`);
    const queue = new TapQueue(descriptor);
    undo.move();
    return queue;
  }

  get fd(): Fd {
    return this.#descriptor.fd;
  }

  /** Bytes of the virtio header: 10 or 12. */
  set headerSize(size: number) {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, size, true);
    ioctl(this.fd, TUNSETVNETHDRSZ, bytes, `TUNSETVNETHDRSZ of ${this.name}`);
  }

  /** Bytes of frames that the interface queues for the host before it is full. */
  set sendBuffer(size: number) {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setInt32(0, size, true);
    ioctl(this.fd, TUNSETSNDBUF, bytes, `TUNSETSNDBUF of ${this.name}`);
  }

  /** Whether the interface gives frames to this queue. */
  get attached(): boolean {
    return (flagsOf(describe(this.fd)) & IFF_DETACH_QUEUE) === 0;
  }

  set attached(on: boolean) {
    // Not what was set last: a process after this one may have had the queue meanwhile.
    if (on === this.attached) return;
    const request = new Uint8Array(IFREQ_SIZE);
    const flag = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
    new DataView(request.buffer).setUint16(NAME_SIZE, flag, true);
    ioctl(this.fd, TUNSETQUEUE, request, `TUNSETQUEUE of ${this.name}`);
  }

  /** Sets what the reader can do: {@linkcode TapOffload} bits. False: the kernel cannot. */
  offload(bits: number): boolean {
    return native.molt_ioctl_value(this.fd, TUNSETOFFLOAD, BigInt(bits)) >= 0;
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
  }
}

/** Whether the kernel's tap interfaces can have virtio headers. */
export function tapHasHeaders(): boolean {
  try {
    using descriptor = openFile("/dev/net/tun", OpenFlags.readWrite);
    const bytes = new Uint8Array(4);
    unwrap(native.molt_ioctl(descriptor.fd, TUNGETFEATURES, bytes), "TUNGETFEATURES");
    return (new DataView(bytes.buffer).getUint32(0, true) & IFF_VNET_HDR) !== 0;
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  }
}

/** struct ifreq of a queue's interface. */
function describe(fd: Fd): Uint8Array<ArrayBuffer> {
  const request = new Uint8Array(IFREQ_SIZE);
  ioctl(fd, TUNGETIFF, request, `descriptor ${fd} is no tap interface`);
  return request;
}

function flagsOf(request: Uint8Array<ArrayBuffer>): number {
  return new DataView(request.buffer).getUint16(NAME_SIZE, true);
}

function decodeName(request: Uint8Array): string {
  const end = request.indexOf(0);
  return new TextDecoder().decode(request.subarray(0, Math.min(end, NAME_SIZE)));
}
