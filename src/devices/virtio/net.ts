/**
 * virtio-net (Virtual I/O Device specification 1.2, chapter 5.1): what the driver sees of a network card.
 * Frames are moved by threads of the C library; here are features, configuration and what the control
 * queue asks for (net_control.ts).
 *
 * Queues: receive 0, transmit 0, receive 1, ... and the control queue last, which comes after the first
 * pair for a driver that uses only one.
 */
import {
  type NetworkAbilities,
  type NetworkBackend,
  noAbilities,
} from "../../backends/network/backend.ts";
import { contain, type EventLoop, Events, type Watch } from "../../native/event_loop.ts";
import type { Descriptor } from "../../native/descriptor.ts";
import { createEvent } from "../../native/event_descriptor.ts";
import { read } from "../../native/file.ts";
import { ADDRESS_LENGTH, type FrameFilter, NativeNetwork } from "../../native/network.ts";
import { TapOffload } from "../../native/tap.ts";
import { VirtqueueError } from "../../native/virtqueue.ts";
import { DeviceStateError } from "../device.ts";
import { VirtioDevice, type VirtioHost } from "./device.ts";
import type { VirtioSection } from "./virtio_state.ts";
import { Feature } from "./features.ts";
import { rarpFrame } from "../../backends/network/rarp.ts";
import { NetControl } from "./net_control.ts";
import {
  type ControlState,
  defaultControlState,
  loadControlState,
  saveControlState,
} from "./net_control_state.ts";
import { NetFeature } from "./net_features.ts";
import { hasSpeed, type NetProperties, offeredFeatures, offersPairs } from "./net_properties.ts";
import { type VirtioNetState, virtioNetState } from "./net_state.ts";
import type { Virtqueue } from "./queue.ts";

/** What a guest can receive, by feature, and how a tap interface is configured. */
const offloads: readonly [feature: bigint, tap: number][] = [
  [NetFeature.guestChecksum, TapOffload.checksum],
  [NetFeature.guestTso4, TapOffload.tso4],
  [NetFeature.guestTso6, TapOffload.tso6],
  [NetFeature.guestEcn, TapOffload.tsoEcn],
  [NetFeature.guestUfo, TapOffload.ufo],
  [NetFeature.guestUso4, TapOffload.uso4],
  [NetFeature.guestUso6, TapOffload.uso6],
];
const allOffloads = offloads.reduce((all, [feature]) => all | feature, 0n);

/** Offsets and sizes of the configuration space. */
const Config = { address: 0, status: 6, pairs: 8, mtu: 10, speed: 12, duplex: 16 } as const;
const CONFIG_PLAIN = 8;
const CONFIG_PAIRS = 10;
const CONFIG_MTU = 12;
const CONFIG_SPEED = 17;

const LinkStatus = { up: 1, announce: 2 } as const;

const CONTROL_QUEUE_SIZE = 64;
const HEADER_PLAIN = 10;
const HEADER_MERGED = 12;
const UNKNOWN_SPEED = 0xffffffff;
const UNKNOWN_DUPLEX = 0xff;

type OwnState = VirtioNetState;

/** A network card. */
export class VirtioNet extends VirtioDevice<OwnState> {
  readonly name = "virtio-net";
  readonly deviceId = 1;
  readonly section: VirtioSection<OwnState>;
  readonly queueMaximum: number;
  readonly configurationSize: number;
  readonly backend: NetworkBackend | undefined;
  readonly #properties: NetProperties;
  readonly #pairs: number;
  readonly #loop: EventLoop;
  readonly #attention: Descriptor = createEvent();
  readonly #control: NetControl;
  /** Queues whose frames are moved. */
  readonly #started = new Set<number>();
  #native: NativeNetwork | undefined;
  #watch: Watch | undefined;
  #state: ControlState;
  #linkUp = true;
  #announcing = false;
  /** The card came from elsewhere: the network is to hear where it is. */
  #moved = false;

  /** `backend` stays the caller's. */
  constructor(backend: NetworkBackend | undefined, properties: NetProperties, loop: EventLoop) {
    super();
    this.backend = backend;
    this.#properties = properties;
    this.#loop = loop;
    this.#pairs = backend?.pairs ?? 1;
    this.queueMaximum = 2 * this.#pairs + 1;
    this.section = virtioNetState(this.#pairs > 1);
    this.configurationSize = hasSpeed(properties)
      ? CONFIG_SPEED
      : properties.mtu > 0
      ? CONFIG_MTU
      : offersPairs(properties, this.#pairs)
      ? CONFIG_PAIRS
      : CONFIG_PLAIN;
    this.#state = defaultControlState(properties.address, false);
    this.#control = new NetControl({
      state: () => this.#state,
      has: (feature) => this.has(feature),
      pairs: this.#pairs,
      offloads: allOffloads,
      filterChanged: () => this.#applyFilter(),
      offloadsChanged: () => this.#applyOffloads(),
      pairsChanged: () => this.backend?.setActivePairs(this.#state.pairs),
      announced: () => this.#announcing = false,
    });
  }

  override attach(host: VirtioHost): void {
    super.attach(host);
    const data = host.queues.slice(0, 2 * this.#pairs);
    this.#native = new NativeNetwork(
      data.map(({ native, kickFd }) => ({ queue: native, kick: kickFd })),
      this.#attention.fd,
    );
    this.#watch = this.#loop.watch(
      this.#attention.fd,
      Events.readable,
      () => this.#attend(),
      (fault) => host.faulted(fault),
    );
    if (this.backend) {
      this.backend.portChanged = (pair) =>
        void contain(() => this.#connect(pair), (fault) => host.faulted(fault));
      for (let pair = 0; pair < this.#pairs; pair++) this.#connect(pair);
    }
  }

  /** Plugs or pulls the cable. */
  set link(up: boolean) {
    if (up === this.#linkUp) return;
    this.#linkUp = up;
    this.#frames.link = up;
    this.host.configurationChanged();
  }

  get link(): boolean {
    return this.#linkUp;
  }

  /** Which frames the driver wants. */
  get receiveMode(): {
    readonly filter: FrameFilter;
    readonly state: ControlState;
    readonly filtersVlans: boolean;
  } {
    const state = this.#state;
    return { filter: state.filter, state, filtersVlans: this.has(NetFeature.controlVlan) };
  }

  /** The card's address as the driver has set it. */
  get address(): Uint8Array {
    return this.#state.filter.address;
  }

  queueSizes(features: bigint): readonly number[] {
    const { receiveQueueSize, transmitQueueSize } = this.#properties;
    const pairs = (features & NetFeature.multiqueue) !== 0n ? this.#pairs : 1;
    const data = Array.from({ length: pairs }, () => [receiveQueueSize, transmitQueueSize]).flat();
    return this.#properties.ctrl_vq ? [...data, CONTROL_QUEUE_SIZE] : data;
  }

  features(legacy: boolean): bigint {
    return offeredFeatures(this.#properties, this.#abilities, this.#pairs, legacy);
  }

  readConfiguration(): Uint8Array {
    const { mtu, speed, duplex } = this.#properties;
    const bytes = new Uint8Array(CONFIG_SPEED);
    const view = new DataView(bytes.buffer);
    bytes.set(this.#state.filter.address, Config.address);
    view.setUint16(Config.status, this.#linkStatus, true);
    view.setUint16(Config.pairs, this.#pairs, true);
    view.setUint16(Config.mtu, mtu, true);
    view.setUint32(Config.speed, speed ?? UNKNOWN_SPEED, true);
    view.setUint8(Config.duplex, duplex ? Number(duplex === "full") : UNKNOWN_DUPLEX);
    return bytes.subarray(0, this.configurationSize);
  }

  override writeConfiguration(offset: number, bytes: Uint8Array): void {
    // Old drivers set the address here, new ones by the control queue.
    if (this.has(NetFeature.controlMacAddress) || this.has(Feature.version1)) return;
    if (offset >= ADDRESS_LENGTH) return;
    const address = Uint8Array.from(this.#state.filter.address);
    address.set(bytes.subarray(0, ADDRESS_LENGTH - offset), offset);
    this.#state.filter.address = address;
    this.#applyFilter();
  }

  override negotiated(features: bigint): void {
    const merged = (features & NetFeature.mergedBuffers) !== 0n;
    const header = merged || (features & Feature.version1) !== 0n ? HEADER_MERGED : HEADER_PLAIN;
    this.backend?.setHeaderSize(header);
    this.#frames.negotiate(header, merged);
    // Without the feature nobody would ever let a VLAN through.
    this.#state.filter.vlans.fill((features & NetFeature.controlVlan) !== 0n ? 0 : 0xff);
    this.#state.offloads = this.#abilities.header ? features & allOffloads : 0n;
    this.#applyOffloads();
    this.#applyFilter();
  }

  override servedNatively(queue: Virtqueue): boolean {
    return queue.index !== this.#controlIndex;
  }

  startQueue(queue: Virtqueue): void {
    if (!this.servedNatively(queue)) {
      this.notified(queue);
      return;
    }
    this.#started.add(queue.index);
    if (this.backend) this.backend.inUse = true;
    this.#frames.start(queue.index);
  }

  override stopQueue(queue: Virtqueue): boolean {
    if (!this.#started.delete(queue.index)) return true;
    this.#frames.stop(queue.index);
    if (this.backend && this.#started.size === 0) this.backend.inUse = false;
    return true;
  }

  override notified(queue: Virtqueue): void {
    try {
      this.#control.serve(queue, this.host.memory);
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.host.fail(error);
    }
  }

  override queuesStarted(): void {
    if (!this.#moved) return;
    this.#moved = false;
    this.#askToAnnounce();
  }

  /** Lets the network know where the card is: by a frame of the card's own, and by the driver. */
  announce(): void {
    // A frame that finds no room is followed by the next round's.
    if (this.backend) this.#frames.send(rarpFrame(this.address));
    if (this.#started.size > 0) this.#askToAnnounce();
  }

  #askToAnnounce(): void {
    if (!this.has(NetFeature.guestAnnounce) || !this.has(NetFeature.controlQueue)) return;
    this.#announcing = true;
    this.host.configurationChanged();
  }

  reset(): void {
    this.#state = defaultControlState(this.#properties.address, false);
    this.#announcing = false;
    this.#moved = false;
    this.backend?.setActivePairs(1);
    this.#applyFilter();
  }

  saveOwn(): OwnState {
    const { pairs, offloads } = this.#state;
    const several = this.#pairs > 1;
    const { header, ufo } = this.#abilities;
    return {
      ...saveControlState(this.#state),
      txWaiting: 0,
      mergeableRxBufs: this.has(NetFeature.mergedBuffers) ? 1 : 0,
      status: this.#linkStatus,
      hasVnetHdr: Number(header),
      hasUfo: Number(header && ufo),
      maxQueuePairs: several ? this.#pairs : undefined,
      currQueuePairs: several ? pairs : undefined,
      txWaitingOthers: several ? new Array<number>(pairs - 1).fill(0) : undefined,
      currGuestOffloads: this.has(NetFeature.controlGuestOffloads) ? offloads : undefined,
      rss: undefined,
    };
  }

  override checkOwn(state: OwnState): void {
    const { header, ufo } = this.#abilities;
    if (state.hasVnetHdr !== 0 && !header) {
      throw new DeviceStateError("virtio-net: saved image requires vnet_hdr=on");
    }
    if (state.hasUfo !== 0 && !ufo) {
      throw new DeviceStateError("virtio-net: saved image requires TUN_F_UFO support");
    }
    if (state.rss !== undefined) {
      throw new DeviceStateError("virtio-net: frames are not spread over queues (rss)");
    }
    if (this.#pairs > 1) {
      const { maxQueuePairs, currQueuePairs = 0 } = state;
      if (maxQueuePairs !== this.#pairs) {
        throw new DeviceStateError(
          `virtio-net: different max_queue_pairs (${maxQueuePairs}, here ${this.#pairs})`,
        );
      }
      if (currQueuePairs < 1 || currQueuePairs > this.#pairs) {
        throw new DeviceStateError(`virtio-net: curr_queue_pairs ${currQueuePairs}`);
      }
    }
  }

  loadOwn(state: OwnState): void {
    this.#state = loadControlState(state, this.#state.offloads);
    this.#linkUp = (state.status & LinkStatus.up) !== 0;
    this.#announcing = (state.status & LinkStatus.announce) !== 0;
    this.#moved = this.backend?.adopted === false;
    this.#frames.link = this.#linkUp;
    this.backend?.setActivePairs(this.#state.pairs);
    this.#applyFilter();
    this.#applyOffloads();
  }

  override [Symbol.dispose](): void {
    if (this.backend) this.backend.portChanged = () => {};
    this.#watch?.[Symbol.dispose]();
    this.#native?.[Symbol.dispose]();
    this.#attention[Symbol.dispose]();
  }

  get #frames(): NativeNetwork {
    if (this.#native === undefined) throw new Error("the card has no transport");
    return this.#native;
  }

  get #abilities(): NetworkAbilities {
    return this.backend?.abilities ?? noAbilities;
  }

  get #controlIndex(): number {
    return this.has(NetFeature.multiqueue) ? 2 * this.#pairs : 2;
  }

  get #linkStatus(): number {
    return (this.#linkUp ? LinkStatus.up : 0) | (this.#announcing ? LinkStatus.announce : 0);
  }

  #connect(pair: number): void {
    if (this.backend) this.#frames.connect(pair, this.backend.port(pair));
  }

  #applyFilter(): void {
    this.#frames.filter = this.#state.filter;
  }

  #applyOffloads(): void {
    const { offloads: on } = this.#state;
    this.backend?.setOffload(
      offloads.reduce((bits, [feature, tap]) => (on & feature) !== 0n ? bits | tap : bits, 0),
    );
  }

  /** The threads have something to report: a broken queue, a lost connection. */
  #attend(): void {
    read(this.#attention.fd, new Uint8Array(8));
    for (const queue of this.host.queues) {
      const fault = this.servedNatively(queue) ? queue.native.fault : undefined;
      if (fault) this.host.fail(fault);
    }
    for (let pair = 0; pair < this.#pairs; pair++) {
      if (!this.#frames.lost(pair)) continue;
      this.#frames.connect(pair, { kind: "none" });
      this.backend?.lost(pair);
    }
  }
}
