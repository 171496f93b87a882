/**
 * virtio-balloon (Virtual I/O Device specification 1.2, chapter 5.5): the guest gives pages back to the
 * host and takes them again, and reports its memory.
 *
 *   host: num_pages -> configuration interrupt -> guest: page numbers in the inflate or deflate queue ->
 *   guest: actual
 */
import { SystemError } from "../../native/errors.ts";
import { Advice } from "../../native/mapping.ts";
import { type QueueElement, VirtqueueError } from "../../native/virtqueue.ts";
import { PAGE_SIZE } from "../../memory/ram_block.ts";
import type { VirtualClock, VirtualTimer } from "../device.ts";
import { type VirtioBalloonState, virtioBalloonState } from "./balloon_state.ts";
import { VirtioDevice } from "./device.ts";
import { gather, totalLength } from "./elements.ts";
import { bit, commonFeatures, type CommonProperties } from "./features.ts";
import type { Virtqueue } from "./queue.ts";

const QUEUE_SIZE = 128;
const INFLATE = 0;
const STATISTICS = 2;
/** Most page numbers in a request; Linux sends 256 at most. */
const REQUEST_PAGES = 65536;
const STATISTIC_SIZE = 10;
const NS_PER_SECOND = 1_000_000_000n;

const BalloonFeature = { statistics: bit(1), deflateOnOom: bit(2), pagePoison: bit(4) } as const;

/** Offsets in the configuration space. */
const Config = { numPages: 0, actual: 4, poisonValue: 12 } as const;
const CONFIG_PLAIN = 8;
const CONFIG_POISON = 16;

/** Names of the guest's statistics, by tag. */
const statisticNames = [
  "stat-swap-in",
  "stat-swap-out",
  "stat-major-faults",
  "stat-minor-faults",
  "stat-free-memory",
  "stat-total-memory",
  "stat-available-memory",
  "stat-disk-caches",
  "stat-htlb-pgalloc",
  "stat-htlb-pgfail",
  "stat-oom-kills",
  "stat-alloc-stalls",
  "stat-async-scans",
  "stat-direct-scans",
  "stat-async-reclaims",
  "stat-direct-reclaims",
] as const;

export interface BalloonProperties extends CommonProperties {
  readonly deflateOnOom: boolean;
  readonly pagePoison: boolean;
  /** Seconds between the guest's statistics; 0: none are asked for. */
  readonly pollingInterval: number;
}

/** What a balloon reports to the machine. */
export interface BalloonListener {
  /** The guest has so many bytes of RAM now. */
  changed(actual: number): void;
  /** Pages that the guest gave could not be given to the host. */
  notDiscarded(error: SystemError): void;
}

/** The device. */
export class VirtioBalloon extends VirtioDevice<VirtioBalloonState> {
  readonly name = "virtio-balloon";
  readonly deviceId = 5;
  readonly section = virtioBalloonState;
  readonly queueMaximum = 3;
  readonly configurationSize: number;
  readonly #properties: BalloonProperties;
  readonly #memorySize: number;
  readonly #clock: VirtualClock;
  readonly #listener: BalloonListener;
  readonly #timer: VirtualTimer;
  /** Pages. */
  #wanted = 0;
  #actual = 0;
  #poisonValue = 0;
  #interval = 0;
  /** The statistics buffer, kept until the guest is to fill it again. */
  #buffer: QueueElement | undefined;
  readonly #statistics = new Map<string, bigint>();
  /** Seconds since 1970. */
  #lastUpdate = 0;

  /** `memorySize`: bytes of RAM without balloon. */
  constructor(
    properties: BalloonProperties,
    memorySize: number,
    clock: VirtualClock,
    listener: BalloonListener,
  ) {
    super();
    this.#properties = properties;
    this.#memorySize = memorySize;
    this.#clock = clock;
    this.#listener = listener;
    this.#interval = properties.pollingInterval;
    this.configurationSize = properties.pagePoison ? CONFIG_POISON : CONFIG_PLAIN;
    this.#timer = clock.timer(() => this.#askForStatistics());
  }

  /** Bytes of RAM that the guest has. */
  get actual(): number {
    return this.#memorySize - this.#actual * PAGE_SIZE;
  }

  /** Asks the guest to get along with `bytes` of RAM. */
  setTarget(bytes: number): void {
    const target = Math.min(bytes, this.#memorySize);
    this.#wanted = Math.floor((this.#memorySize - target) / PAGE_SIZE);
    this.host.configurationChanged();
  }

  /** What the guest reported of its memory, by QEMU's names; all ones where it did not. */
  get statistics(): { readonly stats: Record<string, bigint>; readonly lastUpdate: number } {
    const unknown = (1n << 64n) - 1n;
    return {
      stats: Object.fromEntries(
        statisticNames.map((name) => [name, this.#statistics.get(name) ?? unknown]),
      ),
      lastUpdate: this.#lastUpdate,
    };
  }

  get pollingInterval(): number {
    return this.#interval;
  }

  set pollingInterval(seconds: number) {
    this.#interval = seconds;
    this.#timer.disarm();
    this.#armTimer();
  }

  queueSizes(): readonly number[] {
    return [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  }

  features(legacy: boolean): bigint {
    const { deflateOnOom, pagePoison } = this.#properties;
    return commonFeatures(this.#properties, legacy) | BalloonFeature.statistics |
      (deflateOnOom ? BalloonFeature.deflateOnOom : 0n) |
      (pagePoison ? BalloonFeature.pagePoison : 0n);
  }

  readConfiguration(): Uint8Array {
    const bytes = new Uint8Array(CONFIG_POISON);
    const view = new DataView(bytes.buffer);
    view.setUint32(Config.numPages, this.#wanted, true);
    view.setUint32(Config.actual, this.#actual, true);
    view.setUint32(Config.poisonValue, this.#poisonValue, true);
    return bytes.subarray(0, this.configurationSize);
  }

  override writeConfiguration(offset: number, bytes: Uint8Array): void {
    const all = Uint8Array.from(this.readConfiguration());
    all.set(bytes, offset);
    const view = new DataView(all.buffer);
    if (this.has(BalloonFeature.pagePoison)) {
      this.#poisonValue = view.getUint32(Config.poisonValue, true);
    }
    const before = this.#actual;
    this.#actual = Math.min(
      view.getUint32(Config.actual, true),
      Math.floor(this.#memorySize / PAGE_SIZE),
    );
    if (this.#actual !== before) this.#listener.changed(this.actual);
  }

  startQueue(queue: Virtqueue): void {
    // A buffer that a device before this one held back is looked at again.
    if (queue.index === STATISTICS) queue.native.rewind();
    this.notified(queue);
  }

  override stopQueue(queue: Virtqueue): boolean {
    if (queue.index !== STATISTICS || this.#buffer === undefined) return true;
    queue.native.unpop();
    this.#buffer = undefined;
    return true;
  }

  override notified(queue: Virtqueue): void {
    try {
      if (queue.index === STATISTICS) this.#takeStatistics(queue);
      else this.#movePages(queue);
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.host.fail(error);
    }
  }

  reset(): void {
    this.#buffer = undefined;
    this.#poisonValue = 0;
    this.#statistics.clear();
    this.#timer.disarm();
  }

  saveOwn(): VirtioBalloonState {
    return {
      numPages: this.#wanted,
      actual: this.#actual,
      freePageReport: undefined,
      poisonValue: this.has(BalloonFeature.pagePoison) ? this.#poisonValue : undefined,
    };
  }

  loadOwn(state: VirtioBalloonState): void {
    this.#wanted = state.numPages;
    this.#actual = Math.min(state.actual, Math.floor(this.#memorySize / PAGE_SIZE));
    this.#poisonValue = state.poisonValue ?? 0;
  }

  override [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
  }

  #movePages(queue: Virtqueue): void {
    queue.serve((request) => {
      if (totalLength(request.out) > 4 * REQUEST_PAGES) throw queue.native.fail();
      if (queue.index === INFLATE) {
        const bytes = gather(this.host.memory, request.out, 4 * REQUEST_PAGES);
        this.#discard(new DataView(bytes.buffer));
      }
      queue.push(request, 0);
      return true;
    });
  }

  /** Gives the pages back to the host, neighbours together. */
  #discard(numbers: DataView): void {
    const pages = Array.from(
      { length: Math.floor(numbers.byteLength / 4) },
      (_, i) => numbers.getUint32(4 * i, true),
    ).sort((a, b) => a - b);
    for (let first = 0; first < pages.length;) {
      const start = pages[first] ?? 0;
      let last = first;
      while ((pages[last + 1] ?? Infinity) <= (pages[last] ?? 0) + 1) last++;
      this.#discardRange(start * PAGE_SIZE, ((pages[last] ?? start) + 1) * PAGE_SIZE);
      first = last + 1;
    }
  }

  #discardRange(start: number, end: number): void {
    for (const { address, size, block, blockOffset } of this.host.memory.regions) {
      const from = Math.max(start, address);
      const to = Math.min(end, address + size);
      // Huge pages go back as a whole or not at all; what is mapped privately would show the file again.
      const { kind } = block.backing;
      if (from >= to || block.pageSize !== PAGE_SIZE || kind === "private file") continue;
      try {
        const advice = block.shared ? Advice.remove : Advice.dontNeed;
        block.mapping.advise(advice, from - address + blockOffset, to - from);
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        this.#listener.notDiscarded(error);
      }
    }
  }

  /** The guest's statistics: pairs of tag and value. The buffer is kept until they are wanted again. */
  #takeStatistics(queue: Virtqueue): void {
    queue.serve((request) => {
      if (this.#buffer) queue.push(this.#buffer, 0);
      this.#buffer = request;
      const bytes = gather(this.host.memory, request.out, STATISTIC_SIZE * 256);
      this.#noteStatistics(new DataView(bytes.buffer));
      return true;
    });
    this.#armTimer();
  }

  #noteStatistics(view: DataView): void {
    for (let at = 0; at + STATISTIC_SIZE <= view.byteLength; at += STATISTIC_SIZE) {
      const name = statisticNames[view.getUint16(at, true)];
      if (name !== undefined) this.#statistics.set(name, view.getBigUint64(at + 2, true));
    }
    this.#lastUpdate = Math.floor(Date.now() / 1000);
  }

  #armTimer(): void {
    if (this.#interval === 0 || this.#buffer === undefined) return;
    this.#timer.arm(this.#clock.now() + BigInt(this.#interval) * NS_PER_SECOND);
  }

  #askForStatistics(): void {
    const queue = this.host.queues[STATISTICS];
    if (this.#buffer === undefined || !queue?.live) return;
    const buffer = this.#buffer;
    this.#buffer = undefined;
    queue.push(buffer, 0);
  }
}
