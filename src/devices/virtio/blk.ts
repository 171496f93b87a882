/**
 * virtio-blk (Virtual I/O Device specification 1.2, chapter 5.2): what the driver sees of a disk. Its
 * requests are served by threads of the C library; here is what they are configured with and what they report.
 *
 * A request that fails with the policy "stop" stops the machine: the threads keep it, it is saved with
 * the device, and done again when the machine goes on.
 */
import type { EventLoop, Watch } from "../../native/event_loop.ts";
import { Events } from "../../native/event_loop.ts";
import type { Descriptor } from "../../native/descriptor.ts";
import type { DeviceMemory } from "../../native/device_memory.ts";
import {
  type DiskError,
  type DiskOperation,
  type DiskTotals,
  NativeDisk,
} from "../../native/disk.ts";
import { createEvent } from "../../native/event_descriptor.ts";
import { read } from "../../native/file.ts";
import type { ErrorAction } from "../../native/disk.ts";
import type { BlockImage } from "../../backends/block/image.ts";
import { DeviceStateError } from "../device.ts";
import { type VirtioBlkRequest, type VirtioBlkState, virtioBlkState } from "./blk_state.ts";
import { VirtioDevice, type VirtioHost } from "./device.ts";
import type { VirtioSection } from "./virtio_state.ts";
import { bit, commonFeatures, type CommonProperties } from "./features.ts";
import type { Virtqueue } from "./queue.ts";

const SECTOR = 512;

/** Features. */
const BlkFeature = {
  segMax: bit(2),
  geometry: bit(4),
  readOnly: bit(5),
  blockSize: bit(6),
  /** Legacy: packet commands, which are refused one by one. */
  scsi: bit(7),
  flush: bit(9),
  topology: bit(10),
  configWriteCache: bit(11),
  multiqueue: bit(12),
  discard: bit(13),
  writeZeroes: bit(14),
} as const;

/** Offsets in the configuration space. */
const Config = {
  capacity: 0,
  segMax: 12,
  cylinders: 16,
  heads: 18,
  sectors: 19,
  blockSize: 20,
  physicalBlockExponent: 24,
  minimumIoSize: 26,
  optimalIoSize: 28,
  writeCache: 32,
  queues: 34,
  discardSectors: 36,
  discardSegments: 40,
  discardAlignment: 44,
  writeZeroesSectors: 48,
  writeZeroesSegments: 52,
  writeZeroesUnmap: 56,
} as const;
/** Ends of the configuration space, by what is offered. */
const CONFIG_PLAIN = 36;
const CONFIG_DISCARD = 48;
const CONFIG_WRITE_ZEROES = 57;

/** Head and status take a descriptor each. */
const RESERVED_SEGMENTS = 2;
/** Segments that legacy drivers were promised with seg-max-adjust=off. */
const FIXED_SEGMENTS = 126;

/** What a disk's options say, `auto` decided. */
export interface BlkProperties extends CommonProperties {
  readonly queues: number;
  readonly queueSize: number;
  readonly segMaxAdjust: boolean;
  /** Bytes. */
  readonly logicalBlockSize: number;
  readonly physicalBlockSize: number;
  readonly minimumIoSize: number;
  readonly optimalIoSize: number;
  /** Bytes; `undefined`: the logical block size. */
  readonly discardGranularity: number | undefined;
  readonly reportDiscardGranularity: boolean;
  readonly discard: boolean;
  readonly writeZeroes: boolean;
  /** Sectors of 512 bytes. */
  readonly maxDiscardSectors: number;
  readonly maxWriteZeroesSectors: number;
  readonly serial: string;
  /** Given geometry; zeros: guessed from the size. */
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
  readonly writeCache: boolean;
  /** The driver may turn the write cache off. */
  readonly configWriteCache: boolean;
  readonly readError: ErrorAction;
  readonly writeError: ErrorAction;
}

/** What a disk reports to the machine. */
export interface BlkListener {
  /** A request failed; with the action `stop` the machine is to stop. */
  failed(error: DiskError): void;
}

/** A disk. */
export class VirtioBlk extends VirtioDevice<VirtioBlkState> {
  readonly name = "virtio-blk";
  readonly deviceId = 2;
  readonly section: VirtioSection<VirtioBlkState>;
  readonly queueMaximum: number;
  readonly configurationSize: number;
  readonly image: BlockImage;
  readonly #properties: BlkProperties;
  readonly #deviceMemory: DeviceMemory;
  readonly #loop: EventLoop;
  readonly #listener: BlkListener;
  readonly #attention: Descriptor = createEvent();
  #disk: NativeDisk | undefined;
  #watch: Watch | undefined;
  /** Queues with requests under way that are to be their last. */
  readonly #stopping = new Set<Virtqueue>();
  #writeCache: boolean;

  /** `image` stays the caller's. */
  constructor(
    image: BlockImage,
    properties: BlkProperties,
    deviceMemory: DeviceMemory,
    loop: EventLoop,
    listener: BlkListener,
  ) {
    super();
    this.image = image;
    this.#properties = properties;
    this.#deviceMemory = deviceMemory;
    this.#loop = loop;
    this.#listener = listener;
    this.#writeCache = properties.writeCache;
    this.queueMaximum = properties.queues;
    this.section = virtioBlkState({ multiqueue: properties.queues > 1, packed: false });
    this.configurationSize = properties.writeZeroes
      ? CONFIG_WRITE_ZEROES
      : properties.discard
      ? CONFIG_DISCARD
      : CONFIG_PLAIN;
  }

  override attach(host: VirtioHost): void {
    super.attach(host);
    const properties = this.#properties;
    this.#disk = new NativeDisk(
      this.#deviceMemory,
      {
        image: this.image.diskImage(),
        blockSize: properties.logicalBlockSize,
        readOnly: this.image.readOnly,
        readError: properties.readError,
        writeError: properties.writeError,
        discardMaximum: properties.maxDiscardSectors,
        writeZeroesMaximum: properties.maxWriteZeroesSectors,
        serial: properties.serial,
      },
      host.queues.map(({ native, kickFd }) => ({ queue: native, kick: kickFd })),
      this.#attention.fd,
    );
    this.#setWriteCache(properties.writeCache);
    this.#watch = this.#loop.watch(
      this.#attention.fd,
      Events.readable,
      () => this.#attend(),
      (fault) => host.faulted(fault),
    );
  }

  /** What was done so far. */
  get statistics(): Readonly<Record<DiskOperation, DiskTotals>> {
    return this.#native.statistics;
  }

  queueSizes(): readonly number[] {
    return new Array<number>(this.#properties.queues).fill(this.#properties.queueSize);
  }

  features(legacy: boolean): bigint {
    const properties = this.#properties;
    // Requests of legacy drivers have header and status in buffers of their own.
    return commonFeatures({ ...properties, any_layout: false }, legacy) |
      BlkFeature.segMax | BlkFeature.geometry | BlkFeature.blockSize | BlkFeature.topology |
      (legacy ? BlkFeature.scsi : 0n) |
      (this.image.readOnly ? BlkFeature.readOnly : 0n) |
      (properties.configWriteCache ? BlkFeature.configWriteCache : 0n) |
      (properties.writeCache || properties.configWriteCache ? BlkFeature.flush : 0n) |
      (properties.queues > 1 ? BlkFeature.multiqueue : 0n) |
      (properties.discard ? BlkFeature.discard : 0n) |
      (properties.writeZeroes ? BlkFeature.writeZeroes : 0n);
  }

  readConfiguration(): Uint8Array {
    const properties = this.#properties;
    const bytes = new Uint8Array(CONFIG_WRITE_ZEROES);
    const view = new DataView(bytes.buffer);
    const block = properties.logicalBlockSize;
    const { cylinders, heads, sectors } = this.#geometry();
    view.setBigUint64(Config.capacity, BigInt(this.image.size / SECTOR), true);
    view.setUint32(Config.segMax, this.#segments(), true);
    view.setUint16(Config.cylinders, cylinders, true);
    view.setUint8(Config.heads, heads);
    view.setUint8(Config.sectors, sectors);
    view.setUint32(Config.blockSize, block, true);
    const exponent = Math.log2(Math.max(properties.physicalBlockSize, block) / block);
    view.setUint8(Config.physicalBlockExponent, exponent);
    view.setUint16(Config.minimumIoSize, properties.minimumIoSize / block, true);
    view.setUint32(Config.optimalIoSize, properties.optimalIoSize / block, true);
    view.setUint8(Config.writeCache, this.#writeCache ? 1 : 0);
    view.setUint16(Config.queues, properties.queues, true);
    if (properties.discard) {
      const granularity = properties.reportDiscardGranularity
        ? properties.discardGranularity ?? block
        : block;
      view.setUint32(Config.discardSectors, properties.maxDiscardSectors, true);
      view.setUint32(Config.discardSegments, 1, true);
      view.setUint32(Config.discardAlignment, granularity / SECTOR, true);
    }
    if (properties.writeZeroes) {
      view.setUint32(Config.writeZeroesSectors, properties.maxWriteZeroesSectors, true);
      view.setUint32(Config.writeZeroesSegments, 1, true);
      view.setUint8(Config.writeZeroesUnmap, 1);
    }
    return bytes.subarray(0, this.configurationSize);
  }

  override writeConfiguration(offset: number, bytes: Uint8Array): void {
    // The driver may turn the write cache on and off; everything else is only read.
    const value = bytes[Config.writeCache - offset];
    if (value !== undefined && this.has(BlkFeature.configWriteCache)) {
      this.#setWriteCache(value !== 0);
    }
  }

  override queuesStarted(): void {
    // A driver that cannot flush must not be given a cache that needs it.
    if (!this.has(BlkFeature.configWriteCache)) {
      this.#setWriteCache(this.#properties.writeCache && this.has(BlkFeature.flush));
    }
  }

  override servedNatively(): boolean {
    return true;
  }

  startQueue(queue: Virtqueue): void {
    this.#stopping.delete(queue);
    this.#native.start(queue.index);
  }

  override stopQueue(queue: Virtqueue): boolean {
    const stopped = this.#native.stop(queue.index);
    if (!stopped) this.#stopping.add(queue);
    return stopped;
  }

  /** Requests are under way in queues that were stopped. */
  get busy(): boolean {
    return this.#stopping.size > 0;
  }

  override get requestsOf(): string {
    return `disk '${this.image.id}' (${this.image.path})`;
  }

  reset(): void {
    for (const { index } of this.host.queues) this.#native.forgetRequests(index);
    this.#setWriteCache(this.#properties.writeCache);
  }

  /** The image was given another size. The machine must be stopped. */
  resized(): void {
    this.#native.size = this.image.size;
    this.host.configurationChanged();
  }

  saveOwn(): VirtioBlkState {
    const multiqueue = this.#properties.queues > 1;
    return this.host.queues.flatMap(({ index }) =>
      this.#native.keptRequests(index).map(({ head, out, in: written }): VirtioBlkRequest => ({
        ...(multiqueue ? { queue: index } : {}),
        element: {
          index: head,
          out: out.map(toBigInt),
          in: written.map(toBigInt),
          descriptors: undefined,
        },
      }))
    );
  }

  override checkOwn(requests: VirtioBlkState): void {
    for (const { queue = 0, element } of requests) {
      if (queue >= this.#properties.queues) {
        throw new DeviceStateError(`a request of queue ${queue}, of ${this.#properties.queues}`);
      }
      if (element.index >= this.#properties.queueSize) {
        throw new DeviceStateError(`a request at descriptor ${element.index}`);
      }
    }
  }

  loadOwn(requests: VirtioBlkState): void {
    for (const { queue = 0, element } of requests) {
      this.#native.keepRequest(queue, {
        head: element.index,
        out: element.out.map(toNumber),
        in: element.in.map(toNumber),
      });
    }
  }

  override [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]();
    this.#disk?.[Symbol.dispose]();
    this.#attention[Symbol.dispose]();
  }

  get #native(): NativeDisk {
    if (this.#disk === undefined) throw new Error("the disk has no transport");
    return this.#disk;
  }

  #setWriteCache(on: boolean): void {
    this.#writeCache = on;
    this.#native.writeCache = on;
  }

  /** The threads have something to report: failed requests, a broken queue, the end of the last request. */
  #attend(): void {
    read(this.#attention.fd, new Uint8Array(8));
    for (const { native } of this.host.queues) {
      const { fault } = native;
      if (fault) this.host.fail(fault);
    }
    for (const error of this.#native.takeErrors()) this.#listener.failed(error);
    for (const queue of [...this.#stopping]) {
      if (this.#native.busy(queue.index)) continue;
      this.#stopping.delete(queue);
      this.host.queueStopped(queue);
    }
  }

  #segments(): number {
    const { queueSize, segMaxAdjust } = this.#properties;
    return segMaxAdjust ? queueSize - RESERVED_SEGMENTS : FIXED_SEGMENTS;
  }

  /** What old drivers want: the usual translation of a size, unless given. */
  #geometry(): { cylinders: number; heads: number; sectors: number } {
    const { cylinders, heads, sectors } = this.#properties;
    if (cylinders > 0) return { cylinders, heads, sectors };
    const HEADS = 16;
    const SECTORS = 63;
    const LARGEST = 16383;
    const guess = Math.floor(this.image.size / SECTOR / (HEADS * SECTORS));
    return { cylinders: Math.min(Math.max(guess, 2), LARGEST), heads: HEADS, sectors: SECTORS };
  }
}

function toBigInt({ address, length }: { address: number; length: number }) {
  return { address: BigInt(address), length: BigInt(length) };
}

function toNumber({ address, length }: { address: bigint; length: bigint }) {
  return { address: Number(address), length: Number(length) };
}
