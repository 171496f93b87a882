/** Datagram sockets: unix and inet, unicast and multicast. */
import { native } from "./library.ts";
import { unwrap } from "./errors.ts";
import { Descriptor } from "./descriptor.ts";
import { AddressFamily, resolveInet } from "./resolve.ts";

const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;

/** Where datagrams come from or go to. */
export type DatagramAddress =
  | { readonly kind: "unix"; readonly path: string; readonly abstract: boolean }
  | { readonly kind: "inet"; readonly host: string; readonly port: string };

/** struct sockaddr of an address. */
async function encode(address: DatagramAddress): Promise<Uint8Array<ArrayBuffer>> {
  if (address.kind === "inet") {
    const [first] = await resolveInet(address, false);
    if (first === undefined) throw new Error(`${address.host} has no address`);
    return first;
  }
  const name = new TextEncoder().encode(address.path);
  const bytes = new Uint8Array(3 + name.length);
  new DataView(bytes.buffer).setUint16(0, AddressFamily.unix, true);
  bytes.set(name, address.abstract ? 3 : 2);
  return address.abstract ? bytes : bytes.subarray(0, 2 + name.length + 1);
}

/** True for IPv4 multicast groups (RFC 5771). */
function isGroup(address: Uint8Array): boolean {
  return address[0] === AddressFamily.inet && address[1] === 0 &&
    ((address[4] ?? 0) & 0xf0) === 0xe0;
}

/**
 * A non-blocking socket that receives at `local` and whose datagrams are meant for `remote`, whose struct
 * sockaddr is returned as `peer`. A multicast group as `remote` is joined. `kept`: the socket itself, from
 * a process before this one.
 */
export async function openDatagram(
  local: DatagramAddress | undefined,
  remote: DatagramAddress,
  kept?: Descriptor,
): Promise<{ socket: Descriptor; peer: Uint8Array<ArrayBuffer> }> {
  const peer = await encode(remote);
  if (kept) return { socket: kept, peer };
  using undo = new DisposableStack();
  const socket = undo.use(
    new Descriptor(
      unwrap(
        native.molt_socket(peer[0]! | (peer[1]! << 8), SOCK_DGRAM),
        "Could not create a socket",
      ),
    ),
  );
  const shown = (address: DatagramAddress) =>
    address.kind === "unix" ? address.path : `${address.host}:${address.port}`;
  if (isGroup(peer)) {
    native.molt_socket_option(socket.fd, SOL_SOCKET, SO_REUSEADDR, 1);
    unwrap(
      native.molt_bind(socket.fd, peer, peer.length),
      `can't bind ip=${shown(remote)} to socket`,
    );
    const via = local ? await encode(local) : new Uint8Array(16);
    unwrap(
      native.molt_join_group(socket.fd, peer.subarray(4, 8), via.subarray(4, 8)),
      `can't add socket to multicast group ${shown(remote)}`,
    );
  } else if (local) {
    const address = await encode(local);
    if (local.kind === "inet") native.molt_socket_option(socket.fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (local.kind === "unix" && !local.abstract) native.molt_unlink(address.subarray(2));
    unwrap(
      native.molt_bind(socket.fd, address, address.length),
      `can't bind ${shown(local)} to socket`,
    );
  }
  undo.move();
  return { socket, peer };
}
