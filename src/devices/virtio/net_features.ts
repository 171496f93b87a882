/** Features of virtio-net (Virtual I/O Device specification 1.2, chapter 5.1.3). */
import { bit } from "./features.ts";

/** What a card offers. */
export const NetFeature = {
  checksum: bit(0),
  guestChecksum: bit(1),
  controlGuestOffloads: bit(2),
  mtu: bit(3),
  macAddress: bit(5),
  /** Legacy: any segmentation. */
  gso: bit(6),
  guestTso4: bit(7),
  guestTso6: bit(8),
  guestEcn: bit(9),
  guestUfo: bit(10),
  hostTso4: bit(11),
  hostTso6: bit(12),
  hostEcn: bit(13),
  hostUfo: bit(14),
  mergedBuffers: bit(15),
  status: bit(16),
  controlQueue: bit(17),
  controlRx: bit(18),
  controlVlan: bit(19),
  controlRxExtra: bit(20),
  guestAnnounce: bit(21),
  multiqueue: bit(22),
  controlMacAddress: bit(23),
  guestUso4: bit(54),
  guestUso6: bit(55),
  hostUso: bit(56),
  speedDuplex: bit(63),
} as const;
