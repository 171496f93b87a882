/** Addresses of sockets as monitors show them, and sockets that came as descriptors. */
import { asFd, Descriptor, isOpen } from "../native/descriptor.ts";
import { setNonBlocking, status } from "../native/file.ts";
import { type BoundAddress, boundAddress, type SocketAddress } from "../native/socket.ts";
import { type ChardevEnvironment, ChardevError } from "./chardev.ts";
import type { ChardevAddress } from "../configuration/chardev.ts";

/** `HOST:PORT` or the path. */
export function describeBound(address: BoundAddress): string {
  if (address.kind === "unix") return address.path;
  const host = address.v6 ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/** What query-chardev shows of a socket's own address: the real one if it listens. */
export function describeAddress(address: SocketAddress, listener: Descriptor | undefined): string {
  if (address.kind === "unix") {
    return `unix:${address.path}${address.abstract ? ",abstract=on,tight=on" : ""}`;
  }
  const bound = listener === undefined ? undefined : boundAddress(listener.fd);
  return `tcp:${bound === undefined ? `${address.host}:${address.port}` : describeBound(bound)}`;
}

/** A socket that came as a descriptor. */
type SocketDescriptor = Extract<ChardevAddress, { kind: "fd" | "named" }>;

/** Takes over the socket that `address` means. Throws a ChardevError if there is none. */
export function takeSocket(environment: ChardevEnvironment, address: SocketDescriptor): Descriptor {
  const name = address.kind === "fd" ? String(address.fd) : address.name;
  const descriptor = address.kind === "named"
    ? environment.takeNamedDescriptor(name)
    : isOpen(address.fd)
    ? new Descriptor(address.fd)
    : undefined;
  if (descriptor === undefined && address.kind === "named") {
    throw new ChardevError(`File descriptor named '${name}' has not been found`);
  }
  if (descriptor === undefined || status(descriptor.fd).kind !== "socket") {
    throw new ChardevError(`File descriptor '${name}' is not a socket`);
  }
  setNonBlocking(descriptor.fd, true);
  return descriptor;
}

/** The address of a socket that came as a descriptor, for query-chardev. */
export function addressOf(fd: number): SocketAddress {
  const bound = boundAddress(asFd(fd));
  return bound.kind === "unix" ? bound : { ...bound, port: String(bound.port) };
}
