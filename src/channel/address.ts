/**
 * Where a migration goes to or comes from: what URIs and structured addresses say, as one type.
 *
 *   tcp:HOST:PORT[,to=N][,ipv4=on|off][,ipv6=on|off]     tcp:[IPV6]:PORT     tcp::PORT
 *                [,keep-alive=on|off][,keep-alive-idle=N][,keep-alive-interval=N][,keep-alive-count=N]
 *   unix:PATH     fd:NAME-OR-NUMBER     exec:SHELL-COMMAND     file:PATH[,offset=SIZE]
 */
import type { MigrationAddress } from "../configuration/migration.ts";
import { parseBoolean, parseSize } from "../configuration/values.ts";
import type { SocketAddress } from "../native/socket.ts";
import { ChannelError } from "./channel.ts";

/** A TCP address. */
export interface InetAddress {
  readonly kind: "inet";
  /** Empty: every address of the host, for listening. */
  readonly host: string;
  /** A number or a service's name; 0 lets the kernel choose when listening. */
  readonly port: string;
  /** The highest port to try when listening. */
  readonly to?: number;
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  readonly keepAlive?: KeepAlive;
}

/** What an address says about probes of a silent connection: seconds, and a number. */
export interface KeepAlive {
  readonly on?: boolean;
  readonly idle?: number;
  readonly interval?: number;
  readonly count?: number;
}

/** An address of a migration channel. */
export type ChannelAddress =
  | InetAddress
  | { readonly kind: "unix"; readonly path: string; readonly abstract: boolean }
  /** A socket or pipe that is open already: a name given by getfd or, for a destination, a number. */
  | { readonly kind: "descriptor"; readonly name: string }
  /** A program and its arguments, whose standard input or output is the channel. */
  | { readonly kind: "exec"; readonly command: readonly string[] }
  /** From `offset` on. The path /dev/fdset/N stands for a descriptor given by add-fd. */
  | { readonly kind: "file"; readonly path: string; readonly offset: number };

/** Reads a URI. Throws ChannelError. */
export function parseUri(uri: string): ChannelAddress {
  const colon = uri.indexOf(":");
  const rest = uri.slice(colon + 1);
  switch (colon < 0 ? "" : uri.slice(0, colon)) {
    case "tcp":
      return parseInet(rest);
    case "unix":
      if (rest === "") throw new ChannelError("invalid Unix socket address");
      return { kind: "unix", path: rest, abstract: false };
    case "fd":
      if (rest === "") throw new ChannelError("invalid file descriptor address");
      return { kind: "descriptor", name: rest };
    case "exec":
      return { kind: "exec", command: ["/bin/sh", "-c", rest] };
    case "file":
      return parseFile(rest);
    case "vsock":
    case "rdma":
      throw unsupported(uri);
    default:
      throw new ChannelError(`unknown migration protocol: ${uri}`);
  }
}

/** Reads a structured address, as QMP's `channels` and -incoming have it. Throws ChannelError. */
export function channelAddress(address: MigrationAddress): ChannelAddress {
  switch (address.transport) {
    case "file":
      return { kind: "file", path: address.filename, offset: address.offset };
    case "exec":
      if (address.args.length === 0) throw new ChannelError("exec: args must name a program");
      return { kind: "exec", command: address.args };
    case "socket":
      break;
  }
  switch (address.type) {
    case "unix":
      if (address.path === "") throw new ChannelError("invalid Unix socket address");
      return { kind: "unix", path: address.path, abstract: address.abstract ?? false };
    case "fd":
      if (address.str === "") throw new ChannelError("invalid file descriptor address");
      return { kind: "descriptor", name: address.str };
    case "inet": {
      const { host, port, to, ipv4, ipv6 } = address;
      return {
        kind: "inet",
        host,
        port,
        ...(to === undefined ? {} : { to }),
        ...(ipv4 === undefined ? {} : { ipv4 }),
        ...(ipv6 === undefined ? {} : { ipv6 }),
        ...keepAliveOf({
          on: address["keep-alive"],
          idle: address["keep-alive-idle"],
          interval: address["keep-alive-interval"],
          count: address["keep-alive-count"],
        }),
      };
    }
  }
}

/** What was said, if something was. */
function keepAliveOf(
  given: { readonly [Name in keyof KeepAlive]: KeepAlive[Name] | undefined },
): { keepAlive?: KeepAlive } {
  const said = Object.entries(given).filter(([, value]) => value !== undefined);
  return said.length === 0 ? {} : { keepAlive: Object.fromEntries(said) };
}

/** What a migration asks of its transport. */
export interface TransportNeeds {
  /** Any offset can be written at any time (mapped-ram). */
  readonly seekable?: boolean;
  /** Connections besides the main one (multifd without mapped-ram). */
  readonly severalChannels?: boolean;
  /** Not a file (cpr-transfer). */
  readonly streamable?: boolean;
  /** The same file can be opened again (direct-io). */
  readonly extraDescriptors?: boolean;
}

/** What mapped-ram needs. QEMU's text, and behind it what asks for it: it may have been set long before. */
export const SEEKABLE_TRANSPORT =
  "Migration requires seekable transport (e.g. file): the capability 'mapped-ram' is on";

/** Throws a ChannelError with QEMU's text if the transport cannot do what is asked of it. */
export function checkTransport({ kind }: ChannelAddress, needs: TransportNeeds): void {
  if (needs.seekable && kind !== "file") throw new ChannelError(SEEKABLE_TRANSPORT);
  if (needs.severalChannels && kind !== "inet" && kind !== "unix") {
    throw new ChannelError(
      "Migration requires multi-channel URIs (e.g. tcp): the capability 'multifd' is on",
    );
  }
  if (needs.streamable && kind === "file") {
    throw new ChannelError(
      "Migration requires streamable transport (eg unix): the parameter 'mode' is 'cpr-transfer'",
    );
  }
  if (needs.extraDescriptors && kind !== "file") {
    throw new ChannelError(
      "Migration requires a transport that allows for extra fds (e.g. file): " +
        "the parameter 'direct-io' is on",
    );
  }
}

function unsupported(uri: string): ChannelError {
  return new ChannelError(`${uri}: use a unix or tcp socket`);
}

function parseInet(text: string): InetAddress {
  const match = /^(?<host>\[[^\]]+\]|(?!\[)[^:]*):(?<port>[^,]+)(?<options>,.*)?$/s.exec(text);
  if (match?.groups === undefined) {
    throw new ChannelError(
      text.startsWith("[")
        ? `error parsing IPv6 address '${text}'`
        : `error parsing address '${text}'`,
    );
  }
  const { host = "", port = "", options = "" } = match.groups;
  return {
    kind: "inet",
    host: host.replace(/^\[(.*)\]$/s, "$1"),
    port,
    ...parseInetOptions(options.split(",").slice(1)),
  };
}

function parseInetOptions(options: readonly string[]): Partial<InetAddress> {
  const found: { to?: number; ipv4?: boolean; ipv6?: boolean } = {};
  let keepAlive: KeepAlive = {};
  for (const option of options) {
    const [name = "", value] = option.split(/=(.*)/s);
    switch (name) {
      case "to":
        if (value === undefined || !/^\d{1,5}$/.test(value)) {
          throw new ChannelError("Parameter 'to' expects a number");
        }
        found.to = Number(value);
        break;
      case "ipv4":
      case "ipv6":
        found[name] = parseSwitch(name, value);
        break;
      case "numeric":
        parseSwitch(name, value);
        break;
      case "keep-alive":
        keepAlive = { ...keepAlive, on: parseSwitch(name, value) };
        break;
      case "keep-alive-idle":
      case "keep-alive-interval":
      case "keep-alive-count": {
        if (value === undefined || !/^\d{1,5}$/.test(value)) {
          throw new ChannelError(`Parameter '${name}' expects a number`);
        }
        keepAlive = { ...keepAlive, [name.slice("keep-alive-".length)]: Number(value) };
        break;
      }
      default:
        throw new ChannelError(`Invalid parameter '${name}'`);
    }
  }
  return Object.keys(keepAlive).length === 0 ? found : { ...found, keepAlive };
}

function parseSwitch(name: string, value = "on"): boolean {
  const on = parseBoolean(value);
  if (on === undefined) throw new ChannelError(`Parameter '${name}' expects 'on' or 'off'`);
  return on;
}

const OFFSET_OPTION = ",offset=";

function parseFile(text: string): ChannelAddress {
  const at = text.indexOf(OFFSET_OPTION);
  if (at < 0) return { kind: "file", path: text, offset: 0 };
  return {
    kind: "file",
    path: text.slice(0, at),
    offset: parseOffset(text.slice(at + OFFSET_OPTION.length)),
  };
}

function parseOffset(text: string): number {
  const size = parseSize(text);
  if (size.kind === "size") return size.bytes;
  const reason = size.kind === "invalid" ? "Invalid argument" : "Numerical result out of range";
  throw new ChannelError(`file URI has bad offset ${text}: ${reason}`);
}

/** The socket that an address names. Throws ChannelError. */
export function socketAddress(
  address: Extract<ChannelAddress, { kind: "unix" | "inet" }>,
): SocketAddress {
  if (address.kind === "unix") return address;
  const { host, port, ipv4, ipv6 } = address;
  if (ipv4 === false && ipv6 === false) {
    throw new ChannelError("Cannot disable IPv4 and IPv6 at same time");
  }
  const v4 = ipv6 === false || (ipv4 === true && ipv6 !== true);
  const v6 = ipv4 === false || (ipv6 === true && ipv4 !== true);
  return { kind: "inet", host, port, ...(v4 ? { family: 4 } : v6 ? { family: 6 } : {}) };
}
