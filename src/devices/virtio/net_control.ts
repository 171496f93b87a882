/**
 * The control queue of virtio-net (Virtual I/O Device specification 1.2, chapter 5.1.6.5): which frames
 * the driver wants, how many queues it uses, what it can receive.
 *
 * A request: class, command, data to the device; one byte of acknowledgement to the driver.
 */
import type { GuestMemory } from "../../memory/guest_memory.ts";
import { ADDRESS_LENGTH, FILTER_ENTRIES } from "../../native/network.ts";
import { gather, scatter, totalLength } from "./elements.ts";
import type { ControlState } from "./net_control_state.ts";
import { NetFeature } from "./net_features.ts";
import type { Virtqueue } from "./queue.ts";

const HEADER_SIZE = 2;
/** Most bytes of a request: two tables of addresses that would not fit the filter anyway. */
const REQUEST_LIMIT = 65536;
const VLANS = 4096;

const Class = { rx: 0, mac: 1, vlan: 2, announce: 3, multiqueue: 4, offloads: 5 } as const;
const RxCommand = {
  promiscuous: 0,
  allMulticast: 1,
  allUnicast: 2,
  noMulticast: 3,
  noUnicast: 4,
  noBroadcast: 5,
} as const;
const MacCommand = { tableSet: 0, addressSet: 1 } as const;
const VlanCommand = { add: 0, remove: 1 } as const;
const Acknowledgement = { ok: 0, error: 1 } as const;

/** What commands act on. */
export interface ControlTarget {
  state(): ControlState;
  has(feature: bigint): boolean;
  /** Pairs of queues that there are. */
  readonly pairs: number;
  /** All features that the driver may turn on and off. */
  readonly offloads: bigint;
  filterChanged(): void;
  offloadsChanged(): void;
  pairsChanged(): void;
  /** The driver has announced itself to the network. */
  announced(): void;
}

/** Obeys the control queue. */
export class NetControl {
  readonly #target: ControlTarget;

  constructor(target: ControlTarget) {
    this.#target = target;
  }

  /** Serves what is in the queue. Throws a VirtqueueError if that is no request. */
  serve(queue: Virtqueue, memory: GuestMemory): void {
    queue.serve((request) => {
      if (totalLength(request.out) < HEADER_SIZE || totalLength(request.in) < 1) {
        throw queue.native.fail();
      }
      const bytes = gather(memory, request.out, REQUEST_LIMIT);
      const done = this.#handleCommand(bytes[0] ?? 0, bytes[1] ?? 0, bytes.subarray(HEADER_SIZE));
      const answer = done ? Acknowledgement.ok : Acknowledgement.error;
      queue.push(request, scatter(memory, request.in, Uint8Array.of(answer)));
      return true;
    });
  }

  /** False: the command cannot be carried out. */
  #handleCommand(kind: number, command: number, data: Uint8Array): boolean {
    const { has } = this.#target;
    switch (kind) {
      case Class.rx:
        return this.#setMode(command, data);
      case Class.mac:
        return this.#setAddresses(command, data);
      case Class.vlan:
        return has(NetFeature.controlVlan) && this.#setVlan(command, data);
      case Class.announce:
        if (command !== 0 || !has(NetFeature.guestAnnounce)) return false;
        this.#target.announced();
        return true;
      case Class.multiqueue:
        return command === 0 && has(NetFeature.multiqueue) && this.#setPairs(data);
      case Class.offloads:
        return command === 0 && has(NetFeature.controlGuestOffloads) && this.#setOffloads(data);
      default:
        return false;
    }
  }

  #setMode(command: number, data: Uint8Array): boolean {
    if (data.length < 1) return false;
    const state = this.#target.state();
    const { filter } = state;
    const on = data[0] !== 0;
    switch (command) {
      case RxCommand.promiscuous:
        filter.promiscuous = on;
        break;
      case RxCommand.allMulticast:
        state.allMulticast = on;
        break;
      case RxCommand.allUnicast:
        state.allUnicast = on;
        break;
      case RxCommand.noMulticast:
        filter.noMulticast = on;
        break;
      case RxCommand.noUnicast:
        filter.noUnicast = on;
        break;
      case RxCommand.noBroadcast:
        filter.noBroadcast = on;
        break;
      default:
        return false;
    }
    this.#applyFilter(state);
    return true;
  }

  #setAddresses(command: number, data: Uint8Array): boolean {
    const state = this.#target.state();
    if (command === MacCommand.addressSet) {
      if (data.length !== ADDRESS_LENGTH) return false;
      state.filter.address = Uint8Array.from(data);
    } else if (command === MacCommand.tableSet) {
      const unicast = readTable(data);
      const multicast = unicast && readTable(data.subarray(unicast.size));
      if (unicast === undefined || multicast === undefined) return false;
      if (unicast.size + multicast.size !== data.length) return false;
      state.unicastOverflow = unicast.addresses.length > FILTER_ENTRIES;
      state.filter.unicast = state.unicastOverflow ? [] : unicast.addresses;
      const room = FILTER_ENTRIES - state.filter.unicast.length;
      state.multicastOverflow = multicast.addresses.length > room;
      state.filter.multicast = state.multicastOverflow ? [] : multicast.addresses;
    } else {
      return false;
    }
    this.#applyFilter(state);
    return true;
  }

  #setVlan(command: number, data: Uint8Array): boolean {
    if (data.length < 2) return false;
    const vlan = (data[0] ?? 0) | (data[1] ?? 0) << 8;
    if (vlan >= VLANS) return false;
    const state = this.#target.state();
    const byte = state.filter.vlans[vlan >> 3] ?? 0;
    const mask = 1 << (vlan & 7);
    if (command === VlanCommand.add) state.filter.vlans[vlan >> 3] = byte | mask;
    else if (command === VlanCommand.remove) state.filter.vlans[vlan >> 3] = byte & ~mask;
    else return false;
    this.#applyFilter(state);
    return true;
  }

  #setPairs(data: Uint8Array): boolean {
    if (data.length < 2) return false;
    const pairs = (data[0] ?? 0) | (data[1] ?? 0) << 8;
    if (pairs < 1 || pairs > this.#target.pairs) return false;
    this.#target.state().pairs = pairs;
    this.#target.pairsChanged();
    return true;
  }

  #setOffloads(data: Uint8Array): boolean {
    if (data.length < 8) return false;
    const bytes = Uint8Array.from(data);
    const wanted = new DataView(bytes.buffer).getBigUint64(0, true);
    const possible = Object.values(NetFeature)
      .filter((feature) => this.#target.has(feature) && (feature & this.#target.offloads) !== 0n)
      .reduce((all, feature) => all | feature, 0n);
    if ((wanted & ~possible) !== 0n) return false;
    this.#target.state().offloads = wanted;
    this.#target.offloadsChanged();
    return true;
  }

  #applyFilter(state: ControlState): void {
    state.filter.allMulticast = state.allMulticast || state.multicastOverflow;
    state.filter.allUnicast = state.allUnicast || state.unicastOverflow;
    this.#target.filterChanged();
  }
}

/** A number of addresses in 32 bits, then the addresses. `size`: bytes of it all. */
function readTable(data: Uint8Array): { addresses: Uint8Array[]; size: number } | undefined {
  if (data.length < 4) return undefined;
  const count = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
  const size = 4 + count * ADDRESS_LENGTH;
  if (size > data.length) return undefined;
  const addresses = Array.from(
    { length: count },
    (_, i) => data.slice(4 + ADDRESS_LENGTH * i, 4 + ADDRESS_LENGTH * (i + 1)),
  );
  return { addresses, size };
}
