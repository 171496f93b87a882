/** Frames over datagrams, one each: to one other side, or to a multicast group. */
import { openDatagram } from "../../native/datagram.ts";
import { asFd, Descriptor, type Fd, isOpen } from "../../native/descriptor.ts";
import { setNonBlocking } from "../../native/file.ts";
import type { NetworkPort } from "../../native/network.ts";
import type { NetworkAddress } from "../../configuration/network.ts";
import { keptName, type NetworkBackend, noAbilities } from "./backend.ts";

export interface DatagramConfig {
  readonly local?: NetworkAddress;
  readonly remote?: NetworkAddress;
}

/** A datagram socket. */
export class DatagramBackend implements NetworkBackend {
  readonly id: string;
  readonly abilities = noAbilities;
  readonly pairs = 1;
  readonly adopted: boolean;
  readonly description: string;
  readonly #socket: Descriptor;
  readonly #peer: Uint8Array<ArrayBuffer> | undefined;

  private constructor(
    id: string,
    socket: Descriptor,
    peer: Uint8Array<ArrayBuffer> | undefined,
    adopted: boolean,
    places: string,
  ) {
    this.id = id;
    this.description = `type=dgram,${places}`;
    this.adopted = adopted;
    this.#socket = socket;
    this.#peer = peer;
  }

  /** Opens the socket, or takes it over from the process before this one. */
  static async open(
    id: string,
    { local, remote }: DatagramConfig,
    adopt: (name: string, id: number) => Descriptor | undefined,
  ): Promise<DatagramBackend> {
    if (local?.kind === "fd") {
      const kept = adopt(keptName(id), 0);
      if (!kept && !isOpen(Number(local.name))) {
        throw new Error(`-netdev dgram,id=${id}: descriptor ${local.name} is not open`);
      }
      const socket = kept ?? new Descriptor(asFd(Number(local.name)));
      setNonBlocking(socket.fd, true);
      return new DatagramBackend(id, socket, undefined, kept !== undefined, `fd=${socket.fd}`);
    }
    if (remote === undefined || remote.kind === "fd") {
      throw new Error(`-netdev dgram,id=${id}: there is no address to send to`);
    }
    const kept = adopt(keptName(id), 0);
    const opened = await openDatagram(kept ? undefined : local, remote, kept);
    const places = describePlaces(local, remote);
    return new DatagramBackend(id, opened.socket, opened.peer, kept !== undefined, places);
  }

  port(): NetworkPort {
    const { fd } = this.#socket;
    return { kind: "datagram", fd, ...(this.#peer ? { peer: this.#peer } : {}) };
  }

  set portChanged(_listener: (pair: number) => void) {}
  set inUse(_on: boolean) {}
  lost(): void {}
  setHeaderSize(): void {}
  setOffload(): void {}
  setActivePairs(): void {}

  descriptors(): { name: string; id: number; fd: Fd }[] {
    return [{ name: keptName(this.id), id: 0, fd: this.#socket.fd }];
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** Where datagrams come from and go to, as `info network` shows it. */
function describePlaces(
  local: NetworkAddress | undefined,
  remote: Exclude<NetworkAddress, { kind: "fd" }>,
): string {
  const place = (address: Exclude<NetworkAddress, { kind: "fd" }>) =>
    address.kind === "inet" ? `${address.host}:${address.port}` : address.path;
  if (local === undefined || local.kind === "fd") return `udp=:${place(remote)}`;
  const separator = remote.kind === "inet" ? "/" : ":";
  return `udp=${place(local)}${separator}${place(remote)}`;
}
