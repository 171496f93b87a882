/** Saved state of virtio-net: addresses, filters and what was negotiated. */
import {
  array,
  bool,
  byteArray,
  bytes,
  conditional,
  countedBytes,
  nested,
  struct,
  subsection,
  u16,
  u32,
  u64,
  u8,
  variant,
} from "../../vmstate/vmstate.ts";
import type { OwnStateOf } from "./virtio_state.ts";

/** Entries of the MAC filter table. */
const macTableEntries = 64;
/** VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, as a bit of the accepted features. */
const ctrlGuestOffloads = 1 << 2;
const queuePairMaximum = 0x8000;
const indirectionMaximum = 128;

/** The device's own part. `multiqueue`: it is configured with several queue pairs. */
function netDevice(multiqueue: boolean, offloads: boolean) {
  const withPairs = () => multiqueue;
  return struct({
    name: "virtio-net-device",
    version: 11,
    fields: {
      mac: byteArray(6),
      /** 1 while transmission on queue pair 0 is to be continued. */
      txWaiting: u32(),
      /** 1 if VIRTIO_NET_F_MRG_RXBUF was negotiated. */
      mergeableRxBufs: u32(),
      /** Bit 0 link up, bit 1 announce. */
      status: u16(),
      promisc: u8(),
      allmulti: u8(),
      /** The MAC filter table, 6 bytes for each entry. */
      macTable: countedBytes(6, macTableEntries),
      /** VLAN filter: 4096 bits, VLAN v is bit v % 32 of the little-endian word v / 32. */
      vlans: bytes(512),
      /** 1 if packets between device and backend have a virtio header. */
      hasVnetHdr: u32(),
      /** The lists of multicast and unicast addresses did not fit the table. */
      multiOverflow: u8(),
      uniOverflow: u8(),
      alluni: u8(),
      nomulti: u8(),
      nouni: u8(),
      nobcast: u8(),
      hasUfo: u8(),
      maxQueuePairs: conditional(u16(), withPairs),
      currQueuePairs: conditional(u16(), withPairs),
      /** As `txWaiting`, of the queue pairs after 0. */
      txWaitingOthers: conditional(
        array(u32(), { key: "currQueuePairs", maximum: queuePairMaximum, less: 1 }),
        withPairs,
      ),
      /** Offloads set through the control queue. */
      currGuestOffloads: conditional(u64(), () => offloads),
    },
    subsections: {
      rss: subsection({
        name: "virtio-net-device/rss",
        version: 2,
        minimumVersion: 1,
        fields: {
          enabled: bool(),
          redirect: bool(),
          populateHash: bool(),
          runtimeHashTypes: u32(),
          supportedHashTypes: u32({ since: 2 }),
          indirectionsLen: u16(),
          defaultQueue: u16(),
          key: byteArray(40),
          indirectionsTable: array(u16(), { key: "indirectionsLen", maximum: indirectionMaximum }),
        },
      }),
    },
  });
}

/** Declares the section for a device. `multiqueue`: it is configured with several queue pairs. */
export function virtioNetState(multiqueue: boolean) {
  const plain = nested(netDevice(multiqueue, false));
  const withOffloads = nested(netDevice(multiqueue, true));
  return {
    name: "virtio-net",
    version: 11,
    own: variant(
      plain,
      (virtio: { guestFeaturesLo: number }) =>
        (virtio.guestFeaturesLo & ctrlGuestOffloads) === 0 ? plain : withOffloads,
    ),
  };
}

/** The device's own part of a saved state. */
export type VirtioNetState = OwnStateOf<ReturnType<typeof virtioNetState>>;
