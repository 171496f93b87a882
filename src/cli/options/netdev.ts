/** Network backends, as -netdev and QMP's netdev_add describe them. */
import { OptionError } from "../../configuration/errors.ts";
import {
  boolean,
  defaulting,
  given,
  integer,
  limited,
  type PropertiesOf,
  type PropertyTable,
  refused,
  required,
  size,
  text,
  tree,
} from "../../configuration/property.ts";
import { readProperties, type Source } from "../property_reader.ts";
import { isObject, type Tree, type TreeObject } from "../syntax.ts";
import { discriminator, without } from "../option.ts";
import type { NetworkAddress, NetworkBackend } from "../../configuration/network.ts";

const noVhost = "frames are moved by this process; leave it off";
const noHelper = "create the tap interface beforehand and give it by ifname= or fd=";

const tapProperties = {
  ifname: text("Name of the interface"),
  fd: text("Descriptor of an open interface"),
  fds: text("Descriptors of one with several queues: 3:4"),
  script: text("Program that sets the interface up, or no"),
  downscript: text("Program that takes it down, or no"),
  br: refused(noHelper),
  helper: refused(noHelper),
  sndbuf: size("Limit of frames not yet taken, in bytes"),
  vnet_hdr: boolean("Checksum and segmentation offload"),
  vhost: limited(boolean(), [false], noVhost),
  vhostfd: refused(noVhost),
  vhostfds: refused(noVhost),
  vhostforce: limited(boolean(), [false], noVhost),
  queues: integer("uint32", "Number of queues"),
  "poll-us": limited(integer("uint32"), [0], noVhost),
};

const socketProperties = {
  fd: text("Descriptor of a connected socket"),
  listen: text("[host]:port"),
  connect: text("host:port"),
  mcast: text("group:port"),
  localaddr: text("Address to send from"),
  udp: text("host:port"),
};

const streamProperties = {
  addr: required(tree("Address")),
  server: defaulting(boolean("Wait for a connection"), false),
  "reconnect-ms": integer("int64", "Wait before connecting again"),
};

const dgramProperties = {
  local: tree("Own address"),
  remote: tree("The peer's or a group's address"),
};

const inetProperties = {
  host: required(text()),
  port: required(text()),
  numeric: boolean(),
  to: limited(integer("uint16"), [], "name one port"),
  ipv4: limited(boolean(), [], "give host= as a number to choose the family"),
  ipv6: limited(boolean(), [], "give host= as a number to choose the family"),
  "keep-alive": boolean(),
  mptcp: limited(boolean(), [false], "leave it off"),
};
const unixProperties = {
  path: required(text()),
  abstract: defaulting(boolean(), false),
  tight: limited(boolean(), [true], "leave it on"),
};
const descriptorProperties = { str: required(text()) };

/** What to do for a network without rights on the host: the commands as they are typed. */
const PASST = "run 'passt --socket /tmp/passt.sock', then molt with " +
  "'-netdev stream,id=net0,server=off,addr.type=unix,addr.path=/tmp/passt.sock " +
  "-device virtio-net-device,netdev=net0' (for hostfwd=tcp::2222-:22 passt has '-t 2222:22')";

/** Backends that QEMU has and molt has not, with what to use instead. */
const foreignBackends: ReadonlyMap<string, string> = new Map([
  [
    "user",
    `molt has no network stack of its own, passt has one: ${PASST}`,
  ],
  [
    "passt",
    `molt starts no helpers: ${PASST}`,
  ],
  ["hubport", "connect a bridge of the host by tap"],
  ["bridge", "create a tap interface on the bridge and use 'tap,ifname=NAME,script=no'"],
  ["l2tpv3", "create an l2tp interface on the host and connect it by tap"],
  ["vde", "use 'stream' or 'tap'"],
  ["vhost-user", "use 'stream' or 'tap'"],
  ["vhost-vdpa", "use 'tap'"],
]);

/** What to use instead of a backend that molt has not; `undefined` for others. */
export function insteadOf(type: string): string | undefined {
  return foreignBackends.get(type);
}

/** What `-netdev help` lists. */
export const netdevTypes = ["socket", "stream", "dgram", "tap"] as const;

/** Whether a type's description may have members within members, beside JSON. */
export function isTreeType(type: string | undefined): boolean {
  return type === "stream" || type === "dgram";
}

/** Properties of a type, for help. */
export function netdevTable(type: string): PropertyTable | undefined {
  switch (type) {
    case "tap":
      return tapProperties;
    case "socket":
      return socketProperties;
    case "stream":
      return streamProperties;
    case "dgram":
      return dgramProperties;
    default:
      return undefined;
  }
}

/** Reads a backend's description, without its id. */
export function readNetdev(values: TreeObject, source: Source): NetworkBackend {
  const { where } = source;
  const type = discriminator(values, "type", where);
  const rest = without(values, "type");
  switch (type) {
    case "tap":
      return tap(readProperties(tapProperties, source, rest), where);
    case "socket":
      return socket(readProperties(socketProperties, source, rest), where);
    case "stream":
      return stream(readProperties(streamProperties, source, rest), source);
    case "dgram":
      return dgram(readProperties(dgramProperties, source, rest), source);
  }
  const advice = foreignBackends.get(type);
  throw new OptionError(
    advice === undefined
      ? `${where}Parameter 'type' does not accept value '${type}'`
      : `${where}'type=${type}' is not available: ${advice}`,
  );
}

/** A script's path; `no` and an empty one mean none. */
function script(path: string | undefined, fallback: string): string | undefined {
  return path === "no" || path === "" ? undefined : path ?? fallback;
}

function tap(read: PropertiesOf<typeof tapProperties>, where: string): NetworkBackend {
  const { ifname, fd, fds, queues, vnet_hdr: vnetHeader, sndbuf } = read;
  const common = {
    type: "tap",
    vnetHeader: vnetHeader === undefined ? "auto" : vnetHeader ? "on" : "off",
    ...given({ sendBuffer: sndbuf === 0 ? undefined : sndbuf }),
  } as const;
  if ([fd, fds, queues].filter((member) => member !== undefined).length > 1) {
    throw new OptionError(`${where}queues=, helper=, fds= and fd= are mutual exclusive`);
  }
  if (fd === undefined && fds === undefined) {
    if (queues === 0) throw new OptionError(`${where}queues must be greater than zero`);
    return {
      ...common,
      source: {
        kind: "interface",
        queues: queues ?? 1,
        script: script(read.script, "/etc/qemu-ifup"),
        downscript: script(read.downscript, "/etc/qemu-ifdown"),
        ...given({ name: ifname === "" ? undefined : ifname }),
      },
    };
  }
  const forbidden = [ifname, read.script, read.downscript, vnetHeader];
  if (forbidden.some((member) => member !== undefined)) {
    throw new OptionError(
      `${where}ifname=, script=, downscript=, vnet_hdr= are invalid with fd=/fds=/helper=`,
    );
  }
  const names = (fds ?? fd ?? "").split(":");
  for (const name of names) checkDescriptor(name, where);
  return { ...common, source: { kind: "descriptors", names } };
}

/** Inherited descriptors are known by their numbers. */
function checkDescriptor(name: string, where: string): void {
  if (!/^[0-9]+$/.test(name)) {
    throw new OptionError(`${where}Invalid file descriptor number '${name}'`);
  }
}

/** `host:port`. */
function hostAndPort(address: string, where: string): NetworkAddress & { kind: "inet" } {
  const colon = address.lastIndexOf(":");
  if (colon < 0) {
    throw new OptionError(
      `${where}host address '${address}' doesn't contain ':' separating host from port`,
    );
  }
  const port = address.slice(colon + 1);
  if (!/^[0-9]+$/.test(port)) throw new OptionError(`${where}port number '${port}' is invalid`);
  return { kind: "inet", host: address.slice(0, colon), port };
}

function socket(
  { fd, listen, connect, mcast, udp, localaddr }: PropertiesOf<typeof socketProperties>,
  where: string,
): NetworkBackend {
  const ways = [fd, listen, connect, mcast, udp].filter((way) => way !== undefined);
  if (ways.length !== 1) {
    throw new OptionError(
      `${where}exactly one of listen=, connect=, mcast= or udp= is required`,
    );
  }
  if (localaddr !== undefined && mcast === undefined && udp === undefined) {
    throw new OptionError(`${where}localaddr= is only valid with mcast= or udp=`);
  }
  if (fd !== undefined) {
    checkDescriptor(fd, where);
    return {
      type: "stream",
      server: false,
      address: { kind: "fd", name: fd },
      reconnectMs: 0,
    };
  }
  if (udp !== undefined) {
    if (localaddr === undefined) {
      throw new OptionError(`${where}localaddr= is mandatory with udp=`);
    }
    const remote = hostAndPort(udp, where);
    return { type: "dgram", local: hostAndPort(localaddr, where), remote };
  }
  if (mcast !== undefined) {
    const remote = hostAndPort(mcast, where);
    checkGroup(remote.host, where);
    const local = localaddr === undefined
      ? undefined
      : { kind: "inet", host: localaddr, port: "0" } as const;
    return { type: "dgram", remote, ...given({ local }) };
  }
  return {
    type: "stream",
    server: listen !== undefined,
    address: hostAndPort(listen ?? connect ?? "", where),
    reconnectMs: 0,
  };
}

/** Multicast groups are 224.0.0.0 to 239.255.255.255 (RFC 5771). */
function checkGroup(host: string, where: string): void {
  const bytes = host.split(".").map(Number);
  const [first = 0] = bytes;
  if (bytes.length === 4 && first >= 224 && first <= 239) return;
  const number = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  throw new OptionError(
    `${where}specified mcastaddr ${host} (0x${number}) does not contain a multicast address`,
  );
}

function stream(read: PropertiesOf<typeof streamProperties>, source: Source): NetworkBackend {
  const { server, "reconnect-ms": reconnectMs } = read;
  if (server && reconnectMs !== undefined) {
    throw new OptionError(
      `${source.where}'reconnect-ms' option is incompatible with socket in server mode`,
    );
  }
  return {
    type: "stream",
    server,
    address: readAddress(read.addr, source, "addr"),
    reconnectMs: reconnectMs ?? 0,
  };
}

function dgram(read: PropertiesOf<typeof dgramProperties>, source: Source): NetworkBackend {
  const local = read.local === undefined ? undefined : readAddress(read.local, source, "local");
  const remote = read.remote === undefined ? undefined : readAddress(read.remote, source, "remote");
  const { where } = source;
  if (local === undefined) {
    if (remote?.kind !== "inet") throw new OptionError(`${where}dgram requires local= parameter`);
    const first = Number(remote.host.split(".")[0]);
    if (!(first >= 224 && first <= 239)) {
      throw new OptionError(`${where}dgram requires local= parameter`);
    }
  } else if (remote === undefined) {
    if (local.kind !== "fd") {
      throw new OptionError(`${where}type=inet or type=unix requires remote parameter`);
    }
  } else if (local.kind !== "fd" && local.kind !== remote.kind) {
    throw new OptionError(`${where}remote and local types must be the same`);
  }
  return { type: "dgram", ...given({ local, remote }) };
}

function readAddress(value: Tree, source: Source, name: string): NetworkAddress {
  const { where } = source;
  if (!isObject(value)) {
    throw new OptionError(`${where}Invalid parameter type for '${name}', expected: object`);
  }
  const prefix = `${name}.`;
  const type = discriminator(value, "type", where, prefix);
  const rest = without(value, "type");
  switch (type) {
    case "inet": {
      const { host, port } = readProperties(inetProperties, source, rest, prefix);
      return { kind: "inet", host, port };
    }
    case "unix": {
      const { path, abstract } = readProperties(unixProperties, source, rest, prefix);
      return { kind: "unix", path, abstract };
    }
    case "fd": {
      const { str } = readProperties(descriptorProperties, source, rest, prefix);
      return { kind: "fd", name: str };
    }
    default:
      throw new OptionError(
        `${where}Parameter 'type' does not accept value '${type}'`,
        type === "vsock" ? "there is no vsock; use a unix or tcp socket" : undefined,
      );
  }
}
