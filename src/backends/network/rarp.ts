/**
 * The frame by which a network card's place becomes known: switches learn from its source address where
 * the card is now. A reverse ARP request for the card itself (RFC 903), as QEMU sends it.
 */
import { ADDRESS_LENGTH } from "../../native/network.ts";

/** Bytes of the shortest Ethernet frame without its checksum. */
const FRAME_LENGTH = 60;
const ETHERTYPE_RARP = 0x8035;
const ETHERTYPE_IPV4 = 0x0800;
const HARDWARE_ETHERNET = 1;
const IPV4_LENGTH = 4;
const REQUEST_REVERSE = 3;

/** A RARP request, broadcast by the card with `address`. */
export function rarpFrame(address: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(FRAME_LENGTH);
  const view = new DataView(frame.buffer);
  frame.fill(0xff, 0, ADDRESS_LENGTH);
  frame.set(address.subarray(0, ADDRESS_LENGTH), 6);
  view.setUint16(12, ETHERTYPE_RARP);
  view.setUint16(14, HARDWARE_ETHERNET);
  view.setUint16(16, ETHERTYPE_IPV4);
  view.setUint8(18, ADDRESS_LENGTH);
  view.setUint8(19, IPV4_LENGTH);
  view.setUint16(20, REQUEST_REVERSE);
  // Sender and target are the card; neither has an IP address that we know.
  frame.set(address.subarray(0, ADDRESS_LENGTH), 22);
  frame.set(address.subarray(0, ADDRESS_LENGTH), 32);
  return frame;
}
