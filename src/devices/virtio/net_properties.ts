/** What the options of a virtio-net card say, and which features it offers for them. */
import type { NetworkAbilities } from "../../backends/network/backend.ts";
import { commonFeatures, type CommonProperties } from "./features.ts";
import { NetFeature } from "./net_features.ts";

/** What a card's options say, names of features as QEMU's properties. */
export interface NetProperties extends CommonProperties {
  readonly csum: boolean;
  readonly guest_csum: boolean;
  readonly gso: boolean;
  readonly guest_tso4: boolean;
  readonly guest_tso6: boolean;
  readonly guest_ecn: boolean;
  readonly guest_ufo: boolean;
  readonly guest_uso4: boolean;
  readonly guest_uso6: boolean;
  readonly host_tso4: boolean;
  readonly host_tso6: boolean;
  readonly host_ecn: boolean;
  readonly host_ufo: boolean;
  readonly host_uso: boolean;
  readonly mrg_rxbuf: boolean;
  readonly status: boolean;
  readonly ctrl_vq: boolean;
  readonly ctrl_rx: boolean;
  readonly ctrl_vlan: boolean;
  readonly ctrl_rx_extra: boolean;
  readonly ctrl_mac_addr: boolean;
  readonly ctrl_guest_offloads: boolean;
  readonly guest_announce: boolean;
  readonly mq: boolean;
  readonly address: Uint8Array;
  readonly receiveQueueSize: number;
  readonly transmitQueueSize: number;
  /** 0: not given. */
  readonly mtu: number;
  /** Mb/s. */
  readonly speed: number | undefined;
  readonly duplex: "half" | "full" | undefined;
}

/** Whether a driver is informed of several pairs of queues. */
export function offersPairs({ mq }: NetProperties, pairs: number): boolean {
  return mq && pairs > 1;
}

/** Whether a driver is informed of the cable's speed. */
export function hasSpeed({ speed, duplex }: NetProperties): boolean {
  return speed !== undefined || duplex !== undefined;
}

/** Features of a card whose host's side has `abilities` and so many pairs of queues. */
export function offeredFeatures(
  p: NetProperties,
  { header, ufo, uso }: NetworkAbilities,
  pairs: number,
  legacy: boolean,
): bigint {
  const given: readonly [boolean, bigint][] = [
    [p.csum && header, NetFeature.checksum],
    [p.guest_csum && header, NetFeature.guestChecksum],
    [p.gso && legacy, NetFeature.gso],
    [p.guest_tso4 && header, NetFeature.guestTso4],
    [p.guest_tso6 && header, NetFeature.guestTso6],
    [p.guest_ecn && header, NetFeature.guestEcn],
    [p.guest_ufo && header && ufo, NetFeature.guestUfo],
    [p.guest_uso4 && header && uso && !legacy, NetFeature.guestUso4],
    [p.guest_uso6 && header && uso && !legacy, NetFeature.guestUso6],
    [p.host_tso4 && header, NetFeature.hostTso4],
    [p.host_tso6 && header, NetFeature.hostTso6],
    [p.host_ecn && header, NetFeature.hostEcn],
    [p.host_ufo && header && ufo, NetFeature.hostUfo],
    [p.host_uso && header && uso && !legacy, NetFeature.hostUso],
    [p.mrg_rxbuf, NetFeature.mergedBuffers],
    [p.status, NetFeature.status],
    [p.ctrl_vq, NetFeature.controlQueue],
    [p.ctrl_vq && p.ctrl_rx, NetFeature.controlRx],
    [p.ctrl_vq && p.ctrl_vlan, NetFeature.controlVlan],
    [p.ctrl_vq && p.ctrl_rx_extra, NetFeature.controlRxExtra],
    [p.ctrl_vq && p.ctrl_mac_addr, NetFeature.controlMacAddress],
    [p.ctrl_vq && p.ctrl_guest_offloads, NetFeature.controlGuestOffloads],
    [p.guest_announce, NetFeature.guestAnnounce],
    [offersPairs(p, pairs), NetFeature.multiqueue],
    [p.mtu > 0, NetFeature.mtu],
    [hasSpeed(p) && !legacy, NetFeature.speedDuplex],
  ];
  return given.reduce(
    (all, [on, feature]) => on ? all | feature : all,
    commonFeatures(p, legacy) | NetFeature.macAddress,
  );
}
