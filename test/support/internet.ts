/** Just enough of Ethernet, ARP, IPv4, UDP and TCP for a test to talk to the host through a card. */
import { join } from "./net_driver.ts";

/** Who sends, and who is to receive: MAC and IPv4 addresses. */
export interface Station {
  readonly mac: readonly number[];
  readonly ip: readonly number[];
}

export const EtherType = { ipv4: 0x0800, arp: 0x0806 } as const;
export const Protocol = { tcp: 6, udp: 17 } as const;
export const TcpFlag = { fin: 1, syn: 2, reset: 4, push: 8, acknowledge: 16 } as const;

const ETHERNET_HEADER = 14;
const IP_HEADER = 20;
const TCP_HEADER = 20;
const UDP_HEADER = 8;
/** Where the header of TCP or UDP starts in a frame, and where they have their checksums. */
export const TRANSPORT_START = ETHERNET_HEADER + IP_HEADER;
export const TCP_CHECKSUM = 16;
export const UDP_CHECKSUM = 6;

function u16(value: number): number[] {
  return [value >> 8 & 0xff, value & 0xff];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value)];
}

/** Sum of 16-bit words in one's complement (RFC 1071), not complemented. */
export function sum(bytes: Uint8Array | readonly number[], start = 0): number {
  let total = start;
  for (let i = 0; i < bytes.length; i += 2) {
    total += (bytes[i] ?? 0) << 8 | (bytes[i + 1] ?? 0);
  }
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

function ethernet(from: Station, to: Station, type: number): number[] {
  return [...to.mac, ...from.mac, ...u16(type)];
}

function ip(from: Station, to: Station, protocol: number, payload: number): number[] {
  const header = (checksum: number) => [
    ...[0x45, 0, ...u16(IP_HEADER + payload), 0, 1, 0x40, 0, 64, protocol],
    ...u16(checksum),
    ...from.ip,
    ...to.ip,
  ];
  return header(~sum(header(0)) & 0xffff);
}

/** The part of a transport's checksum that a sender leaves to do when it offloads the rest. */
function pseudoSum(from: Station, to: Station, protocol: number, length: number): number {
  return sum([...from.ip, ...to.ip, 0, protocol, ...u16(length)]);
}

/** Who has the address? */
export function arpReply(from: Station, to: Station): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([
    ...ethernet(from, to, EtherType.arp),
    ...[0, 1, 8, 0, 6, 4, 0, 2],
    ...from.mac,
    ...from.ip,
    ...to.mac,
    ...to.ip,
  ]);
}

/** A datagram; its checksum is left to whoever the header asks to do it. */
export function udpFrame(
  from: Station,
  to: Station,
  ports: { from: number; to: number },
  data: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const length = UDP_HEADER + data.length;
  return join([
    Uint8Array.from([
      ...ethernet(from, to, EtherType.ipv4),
      ...ip(from, to, Protocol.udp, length),
      ...u16(ports.from),
      ...u16(ports.to),
      ...u16(length),
      ...u16(pseudoSum(from, to, Protocol.udp, length)),
    ]),
    data,
  ]);
}

/** A segment; its checksum is left to whoever the header asks to do it. */
export function tcpFrame(
  from: Station,
  to: Station,
  segment: {
    from: number;
    to: number;
    sequence: number;
    acknowledge: number;
    flags: number;
    data?: Uint8Array;
  },
): Uint8Array<ArrayBuffer> {
  const { data = new Uint8Array(0) } = segment;
  const length = TCP_HEADER + data.length;
  return join([
    Uint8Array.from([
      ...ethernet(from, to, EtherType.ipv4),
      ...ip(from, to, Protocol.tcp, length),
      ...u16(segment.from),
      ...u16(segment.to),
      ...u32(segment.sequence),
      ...u32(segment.acknowledge),
      ...[0x50, segment.flags, 0xff, 0xff],
      ...u16(pseudoSum(from, to, Protocol.tcp, length)),
      ...[0, 0],
    ]),
    data,
  ]);
}

/** A frame taken apart as far as tests look. */
export interface ParsedFrame {
  readonly source: readonly number[];
  readonly type: number;
  readonly protocol: number;
  readonly ports: { readonly from: number; readonly to: number };
  readonly sequence: number;
  readonly flags: number;
  readonly data: Uint8Array;
}

/** Takes a frame apart; what it has not is zero or empty. */
export function parse(frame: Uint8Array): ParsedFrame {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const type = view.getUint16(12);
  const isIp = type === EtherType.ipv4;
  const start = ETHERNET_HEADER + (isIp ? (frame[ETHERNET_HEADER] ?? 0) % 16 * 4 : 0);
  const protocol = isIp ? frame[ETHERNET_HEADER + 9] ?? 0 : 0;
  const isTcp = protocol === Protocol.tcp;
  const end = isIp ? ETHERNET_HEADER + view.getUint16(ETHERNET_HEADER + 2) : frame.length;
  const header = isTcp ? ((frame[start + 12] ?? 0) >> 4) * 4 : isIp ? UDP_HEADER : 0;
  const transport = isTcp || protocol === Protocol.udp;
  return {
    source: [...frame.subarray(6, 12)],
    type,
    protocol,
    ports: transport
      ? { from: view.getUint16(start), to: view.getUint16(start + 2) }
      : { from: 0, to: 0 },
    sequence: isTcp ? view.getUint32(start + 4) : 0,
    flags: isTcp ? frame[start + 13] ?? 0 : 0,
    data: frame.slice(start + header, end),
  };
}
