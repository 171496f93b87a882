/** A driver of virtio-net for tests, and the frames that it needs. */
import { type DriverQueue, EVENT_INDEX, type VirtioDriver } from "./virtio_driver.ts";
import { patience } from "./patience.ts";

const PLAIN_HEADER = 10;
const MERGED_HEADER = 12;
const VERSION_1 = 1n << 32n;
const MERGED_BUFFERS = 1n << 15n;
const MULTIQUEUE = 1n << 22n;

/** The header before a frame (Virtual I/O Device specification 1.2, chapter 5.1.6). */
export interface FrameHeader {
  readonly flags: number;
  readonly gsoType: number;
  readonly headerLength: number;
  readonly gsoSize: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

export const noHeader: FrameHeader = {
  flags: 0,
  gsoType: 0,
  headerLength: 0,
  gsoSize: 0,
  checksumStart: 0,
  checksumOffset: 0,
};

/** A frame that the driver received. */
export interface ReceivedFrame {
  readonly header: FrameHeader;
  /** Buffers that it is spread over. */
  readonly buffers: number;
  readonly frame: Uint8Array<ArrayBuffer>;
}

export interface NetDriverOptions {
  readonly features: bigint;
  /** Pairs of queues to set up. */
  readonly pairs?: number;
  /** Pairs that the device has. */
  readonly devicePairs?: number;
  /** Bytes of each receive buffer, and how many there are of them. */
  readonly bufferSize?: number;
  readonly buffers?: number;
}

/** The queues of a card. */
export class NetDriver {
  readonly driver: VirtioDriver;
  readonly control: DriverQueue;
  readonly #pairs: { readonly receive: DriverQueue; readonly transmit: DriverQueue }[];
  readonly #bufferSize: number;

  private constructor(
    driver: VirtioDriver,
    pairs: { receive: DriverQueue; transmit: DriverQueue }[],
    control: DriverQueue,
    bufferSize: number,
  ) {
    this.driver = driver;
    this.#pairs = pairs;
    this.control = control;
    this.#bufferSize = bufferSize;
  }

  /** Sets the device up and gives it buffers. */
  static async begin(
    driver: VirtioDriver,
    { features, pairs = 1, devicePairs = pairs, bufferSize = 2048, buffers = 8 }: NetDriverOptions,
  ): Promise<NetDriver> {
    await driver.begin(features);
    const queues: { receive: DriverQueue; transmit: DriverQueue }[] = [];
    for (let i = 0; i < pairs; i++) {
      queues.push({
        receive: await driver.queue(2 * i, 16),
        transmit: await driver.queue(2 * i + 1, 16),
      });
    }
    const index = (driver.features & MULTIQUEUE) !== 0n ? 2 * devicePairs : 2;
    const net = new NetDriver(driver, queues, await driver.queue(index, 16), bufferSize);
    await driver.ready();
    for (const { receive } of queues) {
      for (let i = 0; i < buffers; i++) await receive.add([{ in: bufferSize }]);
      await receive.notifyIfWanted();
    }
    return net;
  }

  get headerSize(): number {
    return (this.driver.features & (MERGED_BUFFERS | VERSION_1)) !== 0n
      ? MERGED_HEADER
      : PLAIN_HEADER;
  }

  /** Puts a frame into a transmit queue, without notifying. */
  async add(frame: Uint8Array, header: FrameHeader = noHeader, pair = 0): Promise<void> {
    await this.#transmit(pair).add([{ out: encodeHeader(header, this.headerSize) }, {
      out: frame,
    }]);
  }

  /** Sends a frame and waits until the device has taken it. */
  async send(frame: Uint8Array, header: FrameHeader = noHeader, pair = 0): Promise<void> {
    await this.add(frame, header, pair);
    await this.#transmit(pair).notify();
    await this.#transmit(pair).completed();
  }

  /** Gives a receive queue another buffer. */
  async refill(pair = 0): Promise<void> {
    const queue = this.#receive(pair);
    await queue.add([{ in: this.#bufferSize }]);
    await queue.notifyIfWanted();
  }

  /** The next frame. Its buffers are given back. */
  async received(signal?: AbortSignal, pair = 0): Promise<ReceivedFrame> {
    const queue = this.#receive(pair);
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let count = 1;
    for (let i = 0; i < count; i++) {
      const { in: [bytes = new Uint8Array(0)], written } = await queue.completed(signal);
      pieces.push(bytes.slice(0, written));
      if (i === 0 && this.headerSize === MERGED_HEADER) {
        count = new DataView(bytes.buffer).getUint16(PLAIN_HEADER, true);
      }
      await this.refill(pair);
    }
    const all = join(pieces);
    return {
      header: decodeHeader(all),
      buffers: count,
      frame: all.slice(this.headerSize),
    };
  }

  /** The next frame for which `wanted` holds; others are not for us. */
  async receivedOf(
    wanted: (frame: Uint8Array) => boolean,
    pair = 0,
  ): Promise<ReceivedFrame> {
    const signal = patience(10_000);
    for (;;) {
      const received = await this.received(signal, pair);
      if (wanted(received.frame)) return received;
    }
  }

  /** Whether a receive queue has a frame that was not looked at. */
  async pending(pair = 0): Promise<boolean> {
    const queue = this.#receive(pair);
    return await queue.usedIndex() !== (queue.seen & 0xffff);
  }

  /** Has the device carry out a command. True: it did. */
  async command(kind: number, command: number, data: Uint8Array): Promise<boolean> {
    const { in: [answer] } = await this.control.request([
      { out: Uint8Array.of(kind, command) },
      { out: data },
      { in: 1 },
    ]);
    return answer?.[0] === 0;
  }

  #receive(pair: number): DriverQueue {
    return this.#pair(pair).receive;
  }

  #transmit(pair: number): DriverQueue {
    return this.#pair(pair).transmit;
  }

  #pair(index: number) {
    const pair = this.#pairs[index];
    if (pair === undefined) throw new Error(`there is no pair ${index}`);
    return pair;
  }
}

/** Joins pieces. */
export function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

function encodeHeader(header: FrameHeader, size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, header.flags);
  view.setUint8(1, header.gsoType);
  view.setUint16(2, header.headerLength, true);
  view.setUint16(4, header.gsoSize, true);
  view.setUint16(6, header.checksumStart, true);
  view.setUint16(8, header.checksumOffset, true);
  return bytes;
}

function decodeHeader(bytes: Uint8Array<ArrayBuffer>): FrameHeader {
  const view = new DataView(bytes.buffer);
  return {
    flags: view.getUint8(0),
    gsoType: view.getUint8(1),
    headerLength: view.getUint16(2, true),
    gsoSize: view.getUint16(4, true),
    checksumStart: view.getUint16(6, true),
    checksumOffset: view.getUint16(8, true),
  };
}

/** A frame of an experimental protocol: who it is for, and some bytes. */
export function frameTo(
  destination: readonly number[],
  content: Uint8Array,
): Uint8Array<ArrayBuffer> {
  return join([
    Uint8Array.from(destination),
    Uint8Array.of(0x02, 0, 0, 0, 0, 0x99),
    Uint8Array.of(0x88, 0xb5),
    content,
  ]);
}

/** Bytes that depend on `seed`. */
export function content(length: number, seed: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => i * 13 + seed * 101 + (i >> 8));
}

/** Features without interrupts by event index. */
export function withoutEvents(features: bigint): bigint {
  return features & ~EVENT_INDEX;
}
