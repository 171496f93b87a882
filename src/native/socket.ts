/** Stream sockets: unix and inet, with descriptors as passengers. */
import { cString, native } from "./library.ts";
import { Errno, SystemError, unwrap } from "./errors.ts";
import { asFd, Descriptor, type Fd } from "./descriptor.ts";
import { Events } from "./event_loop.ts";
import { untilReady } from "./readiness.ts";
import { createEvent } from "./event_descriptor.ts";
import { pathKind, setMode } from "./file.ts";
import { AddressFamily, resolveInet } from "./resolve.ts";
import { threads } from "./thread_pool.ts";

const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_PEERPIDFD = 77;
const SO_ACCEPTCONN = 30;
const SO_KEEPALIVE = 9;
const SO_DOMAIN = 39;
const IPPROTO_TCP = 6;
/** tcp(7) */
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;
/** A socket controls a machine: whatever the umask is, only owner and group may connect. */
const SOCKET_MODE = 0o775;
/** What makes an eventfd readable. */
const one = new Uint8Array(new BigUint64Array([1n]).buffer);

/** Where a stream socket listens or connects to. */
export type SocketAddress =
  | { readonly kind: "unix"; readonly path: string; readonly abstract?: boolean }
  | {
    readonly kind: "inet";
    readonly host: string;
    readonly port: string;
    /** IPv4 or IPv6 only. */
    readonly family?: 4 | 6;
  };

/** A socket's own address as the kernel reports it. */
export type BoundAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "inet"; readonly host: string; readonly port: number; readonly v6: boolean };

/** The address as people write it: a path, or `host:port`. */
export function describeAddress(address: SocketAddress): string {
  return address.kind === "unix" ? address.path : `${address.host}:${address.port}`;
}

/** struct sockaddr_un. Paths are limited to 107 bytes (unix(7)). */
function unixAddress(path: string, abstract: boolean): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(path);
  const limit = 107;
  if (name.length > limit) {
    throw new Error(`UNIX socket path '${path}' is too long: path must be less than 108 bytes`);
  }
  const bytes = new Uint8Array(3 + name.length);
  new DataView(bytes.buffer).setUint16(0, AddressFamily.unix, true);
  bytes.set(name, abstract ? 3 : 2);
  return bytes;
}

/** The struct sockaddrs of an address, best first. */
function resolve(address: SocketAddress, passive: boolean): Promise<Uint8Array<ArrayBuffer>[]> {
  if (address.kind === "inet") return resolveInet(address, passive);
  return Promise.resolve([unixAddress(address.path, address.abstract ?? false)]);
}

/** The outcome of the first candidate that works, or the error of the last. Stops if `signal` is aborted. */
async function firstOf<T>(
  candidates: readonly Uint8Array<ArrayBuffer>[],
  attempt: (bytes: Uint8Array<ArrayBuffer>) => T | Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  let failure: unknown = new Error("the name has no address");
  for (const candidate of candidates) {
    try {
      signal?.throwIfAborted();
      return await attempt(candidate);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

function createSocket(address: Uint8Array): Descriptor {
  const domain = address[0]! | (address[1]! << 8);
  return new Descriptor(
    unwrap(native.molt_socket(domain, SOCK_STREAM), "Could not create a socket"),
  );
}

/** Sends small packets at once. A unix socket has no such option and needs none. */
function disableNagle(fd: Fd): void {
  native.molt_socket_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/** A listening socket. A socket that is at a unix path is replaced, as QEMU does; no other file is. */
export async function listen(address: SocketAddress, backlog = 1): Promise<Descriptor> {
  const candidates = await resolve(address, true);
  return firstOf(candidates, (bytes) => listenAt(address, bytes, backlog));
}

function listenAt(
  address: SocketAddress,
  bytes: Uint8Array<ArrayBuffer>,
  backlog: number,
): Descriptor {
  const socket = createSocket(bytes);
  try {
    if (address.kind === "inet") {
      native.molt_socket_option(socket.fd, SOL_SOCKET, SO_REUSEADDR, 1);
    } else if (!address.abstract) {
      removeSocket(address.path);
      setMode(socket.fd, SOCKET_MODE);
    }
    const listening = native.molt_listen(socket.fd, bytes, bytes.length, backlog);
    unwrap(listening, () => describeBindFailure(address, listening));
    return socket;
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
}

/** Removes the socket at `path`. Throws if something else is there. */
function removeSocket(path: string): void {
  const kind = pathKind(path);
  if (kind === undefined) return;
  if (kind !== "socket") {
    throw new SystemError(
      `Failed to bind socket to ${path}: what is there is no socket and is not replaced`,
      Errno.EADDRINUSE,
    );
  }
  native.molt_unlink(cString(path));
}

function describeBindFailure(address: SocketAddress, result: number): string {
  if (address.kind === "unix") return `Failed to bind socket to ${address.path}`;
  return result === -Errno.EADDRINUSE
    ? "Failed to find an available port"
    : "Failed to bind socket";
}

/** The next connection of a listening socket, `undefined` if none waits. Non-blocking. */
export function accept(listener: Fd): Descriptor | undefined {
  const fd = native.molt_accept(listener);
  if (fd === -Errno.EAGAIN || fd === -Errno.EINTR) return undefined;
  const connection = new Descriptor(unwrap(fd, "Could not accept a connection"));
  disableNagle(connection.fd);
  return connection;
}

/** Milliseconds that a unix socket's server may let its queue be full. */
const QUEUE_LIMIT_MS = 30_000;

/**
 * A connected, non-blocking socket. Of a name's addresses the first that answers is taken. Where a unix
 * socket's queue is full, waits for a place in it. Rejects with `signal`'s reason once that is aborted.
 */
export async function connect(address: SocketAddress, signal?: AbortSignal): Promise<Descriptor> {
  const candidates = await resolve(address, false);
  return await firstOf(candidates, (bytes) => connectTo(address, bytes, signal), signal);
}

async function connectTo(
  address: SocketAddress,
  bytes: Uint8Array<ArrayBuffer>,
  signal: AbortSignal | undefined,
): Promise<Descriptor> {
  const socket = createSocket(bytes);
  const attempt = `Failed to connect to '${describeAddress(address)}'`;
  try {
    const outcome = native.molt_connect(socket.fd, bytes, bytes.length);
    if (outcome === -Errno.EINPROGRESS) {
      await untilReady([{ fd: socket.fd, events: Events.writable }], signal);
      unwrap(native.molt_socket_error(socket.fd), attempt);
    } else if (outcome === -Errno.EAGAIN && address.kind === "unix") {
      unwrap(await connectPatiently(socket.fd, bytes, signal), attempt);
    } else {
      unwrap(outcome, attempt);
    }
    disableNagle(socket.fd);
    return socket;
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
}

/** Waits on a thread for a place in the listener's queue. Resolves with 0 or a negative errno. */
async function connectPatiently(
  socket: Fd,
  bytes: Uint8Array<ArrayBuffer>,
  signal: AbortSignal | undefined,
): Promise<number> {
  using cancel = createEvent();
  const abort = () => native.molt_write(cancel.fd, one, 8n);
  signal?.addEventListener("abort", abort, { once: true });
  try {
    const limit = BigInt(QUEUE_LIMIT_MS);
    const outcome = await threads.molt_connect_patiently(
      socket,
      bytes,
      bytes.length,
      cancel.fd,
      limit,
    );
    signal?.throwIfAborted();
    return outcome;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** Two connected, non-blocking unix stream sockets. */
export function socketPair(): [Descriptor, Descriptor] {
  const ends = new Int32Array(2);
  unwrap(
    native.molt_socketpair(SOCK_STREAM, new Uint8Array(ends.buffer)),
    "Could not create a socket pair",
  );
  return [new Descriptor(ends[0]!), new Descriptor(ends[1]!)];
}

/** True if `fd` is a socket that listens. */
export function isListening(fd: Fd): boolean {
  return native.molt_get_socket_option(fd, SOL_SOCKET, SO_ACCEPTCONN) === 1;
}

/** True if `fd` is a unix socket. */
export function isUnixSocket(fd: Fd): boolean {
  return native.molt_get_socket_option(fd, SOL_SOCKET, SO_DOMAIN) === AddressFamily.unix;
}

/** When a TCP connection whose peer is silent breaks. */
export interface TcpLimits {
  /** Milliseconds for which what was sent may stay unacknowledged; 0: what the system has. */
  readonly userTimeout: number;
  /** Seconds of silence before the first probe, between probes, and how many; absent: none. */
  readonly keepAlive:
    | { readonly idle: number; readonly interval: number; readonly count: number }
    | undefined;
}

/** Sets the limits of a TCP connection. Nothing happens to a socket of another kind. */
export function limitTcp(fd: Fd, { userTimeout, keepAlive }: TcpLimits): void {
  const domain = native.molt_get_socket_option(fd, SOL_SOCKET, SO_DOMAIN);
  if (domain !== AddressFamily.inet && domain !== AddressFamily.inet6) return;
  const set = (level: number, option: number, value: number) =>
    void unwrap(
      native.molt_socket_option(fd, level, option, value),
      () => `Could not set option ${option} of socket ${fd} to ${value}`,
    );
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, userTimeout);
  set(SOL_SOCKET, SO_KEEPALIVE, keepAlive === undefined ? 0 : 1);
  if (keepAlive === undefined) return;
  set(IPPROTO_TCP, TCP_KEEPIDLE, keepAlive.idle);
  set(IPPROTO_TCP, TCP_KEEPINTVL, keepAlive.interval);
  set(IPPROTO_TCP, TCP_KEEPCNT, keepAlive.count);
}

/**
 * The process that made a unix socket's connection: a pidfd, readable when it has ended (unix(7)).
 * `undefined` before Linux 6.5.
 */
export function peerProcess(fd: Fd): Descriptor | undefined {
  const pidfd = native.molt_get_socket_option(fd, SOL_SOCKET, SO_PEERPIDFD);
  return pidfd < 0 ? undefined : new Descriptor(asFd(pidfd));
}

/** The socket's own address. */
export function boundAddress(fd: Fd): BoundAddress {
  return socketName(fd, false);
}

function socketName(fd: Fd, ofPeer: boolean): BoundAddress {
  const bytes = new Uint8Array(128);
  const length = unwrap(
    native.molt_socket_name(fd, ofPeer ? 1 : 0, bytes, bytes.length),
    () => `Could not read the address of socket ${fd}`,
  );
  const view = new DataView(bytes.buffer);
  switch (view.getUint16(0, true)) {
    case AddressFamily.inet:
      return {
        kind: "inet",
        host: bytes.subarray(4, 8).join("."),
        port: view.getUint16(2),
        v6: false,
      };
    case AddressFamily.inet6: {
      const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(8 + 2 * i).toString(16));
      const host = new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
      return { kind: "inet", host, port: view.getUint16(2), v6: true };
    }
    default:
      return {
        kind: "unix",
        path: new TextDecoder().decode(bytes.subarray(2, length)).replace(/\0$/, ""),
      };
  }
}

const noDescriptors = new Int32Array(0);

/** Sends bytes, with `passengers` attached to the first: the count sent, `undefined` if full. */
export function send(
  socket: Fd,
  bytes: Uint8Array<ArrayBuffer>,
  passengers: readonly Fd[] = [],
): number | undefined {
  const fds = passengers.length > 0 ? Int32Array.from(passengers) : noDescriptors;
  const result = Number(
    native.molt_send(socket, bytes, BigInt(bytes.length), new Uint8Array(fds.buffer), fds.length),
  );
  if (result === -Errno.EAGAIN || result === -Errno.EINTR) return undefined;
  return unwrap(result, "Could not send");
}

/** What {@linkcode receive} found. */
export interface Received {
  /** Bytes in the buffer; 0 at the end of the stream. */
  readonly length: number;
  /** Descriptors that came with them, now the caller's. */
  readonly passengers: readonly Descriptor[];
}

const MSG_PEEK = 2;

/** Receives bytes and descriptors; `undefined` if nothing is there yet. `peek` leaves the bytes. */
export function receive(
  socket: Fd,
  buffer: Uint8Array<ArrayBuffer>,
  peek = false,
): Received | undefined {
  const fds = new Int32Array(16);
  const count = new Uint32Array(1);
  const result = Number(
    native.molt_receive(
      socket,
      buffer,
      BigInt(buffer.length),
      peek ? MSG_PEEK : 0,
      new Uint8Array(fds.buffer),
      new Uint8Array(count.buffer),
    ),
  );
  if (result === -Errno.EAGAIN || result === -Errno.EINTR) return undefined;
  const passengers = Array.from(fds.subarray(0, count[0]), (fd) => new Descriptor(fd));
  return { length: unwrap(result, "Could not receive"), passengers };
}

/** Shows the peer that nothing more will be sent. */
export function endSending(socket: Fd): void {
  const SHUT_WR = 1;
  unwrap(native.molt_shutdown(socket, SHUT_WR), "Could not shut down a socket");
}

/** Ends both directions. What has arrived can still be read; the peer sees the end. */
export function endConnection(socket: Fd): void {
  const SHUT_RDWR = 2;
  // It fails only if the connection has ended already.
  native.molt_shutdown(socket, SHUT_RDWR);
}

/** True for errors that mean the peer has disconnected. */
export function isPeerGone(error: unknown): boolean {
  return error instanceof SystemError &&
    (error.errno === Errno.EPIPE || error.errno === Errno.ECONNRESET);
}

/** Waits for the next connection of a listening socket. */
export async function acceptNext(listener: Fd): Promise<Descriptor> {
  for (;;) {
    const connection = accept(listener);
    if (connection !== undefined) return connection;
    await untilReady([{ fd: listener, events: Events.readable }]);
  }
}

/** The address of a connected socket's other side. */
export function peerAddress(fd: Fd): BoundAddress {
  return socketName(fd, true);
}
