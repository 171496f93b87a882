/** What the driver of a virtio-net card has set by the control queue, and how that is saved. */
import { ADDRESS_LENGTH, type FrameFilter, VLAN_BYTES } from "../../native/network.ts";
import type { VirtioNetState } from "./net_state.ts";

/** What it has set. */
export interface ControlState {
  /** As the frames are filtered: a table that did not fit counts as "all". */
  readonly filter: FrameFilter;
  /** As the driver said. */
  allMulticast: boolean;
  allUnicast: boolean;
  /** The driver's table had more addresses of that kind than the filter. */
  multicastOverflow: boolean;
  unicastOverflow: boolean;
  /** Pairs of queues in use. */
  pairs: number;
  /** Features of what it can receive that are turned on. */
  offloads: bigint;
}

/** The state after a reset: all frames are let through. */
export function defaultControlState(address: Uint8Array, vlans: boolean): ControlState {
  return {
    filter: {
      address: Uint8Array.from(address),
      promiscuous: true,
      allMulticast: false,
      allUnicast: false,
      noMulticast: false,
      noUnicast: false,
      noBroadcast: false,
      unicast: [],
      multicast: [],
      vlans: new Uint8Array(VLAN_BYTES).fill(vlans ? 0xff : 0),
    },
    allMulticast: false,
    allUnicast: false,
    multicastOverflow: false,
    unicastOverflow: false,
    pairs: 1,
    offloads: 0n,
  };
}

/** The fields of the saved state that it goes to. What depends on features is the device's. */
export function saveControlState({ filter, multicastOverflow, unicastOverflow }: ControlState) {
  return {
    mac: Uint8Array.from(filter.address),
    promisc: Number(filter.promiscuous),
    allmulti: Number(filter.allMulticast),
    macTable: Uint8Array.from(
      [...filter.unicast, ...filter.multicast].flatMap((address) => [...address]),
    ),
    vlans: Uint8Array.from(filter.vlans),
    multiOverflow: Number(multicastOverflow),
    uniOverflow: Number(unicastOverflow),
    alluni: Number(filter.allUnicast),
    nomulti: Number(filter.noMulticast),
    nouni: Number(filter.noUnicast),
    nobcast: Number(filter.noBroadcast),
  };
}

/** Takes it from a saved state, which may say nothing of `offloads`. */
export function loadControlState(
  state: VirtioNetState,
  offloads: bigint,
): ControlState {
  const addresses = Array.from(
    { length: state.macTable.length / ADDRESS_LENGTH },
    (_, i) => state.macTable.slice(ADDRESS_LENGTH * i, ADDRESS_LENGTH * (i + 1)),
  );
  const isMulticast = (address: Uint8Array) => ((address[0] ?? 0) & 1) !== 0;
  // Unicast addresses come first.
  const found = addresses.findIndex(isMulticast);
  const first = found < 0 ? addresses.length : found;
  return {
    filter: {
      address: Uint8Array.from(state.mac),
      promiscuous: state.promisc !== 0,
      allMulticast: state.allmulti !== 0 || state.multiOverflow !== 0,
      allUnicast: state.alluni !== 0 || state.uniOverflow !== 0,
      noMulticast: state.nomulti !== 0,
      noUnicast: state.nouni !== 0,
      noBroadcast: state.nobcast !== 0,
      unicast: addresses.slice(0, first),
      multicast: addresses.slice(first),
      vlans: Uint8Array.from(state.vlans),
    },
    allMulticast: state.allmulti !== 0,
    allUnicast: state.alluni !== 0,
    multicastOverflow: state.multiOverflow !== 0,
    unicastOverflow: state.uniOverflow !== 0,
    pairs: state.currQueuePairs ?? 1,
    offloads: state.currGuestOffloads ?? offloads,
  };
}
