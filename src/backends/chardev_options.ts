/**
 * What a character device is made from: typed options, and how they are read from the two texts of
 * the command line: the properties of `-chardev` and the short spellings of `-serial`, `-monitor`
 * and `-qmp`. Names, defaults and error texts are QEMU 11.1's.
 */
import type {
  ChardevAddress,
  ChardevBackendOptions,
  ChardevOptions,
} from "../configuration/chardev.ts";

/** Options of a character device that cannot be right. The message is one line for the user. */
export class ChardevOptionError extends Error {
  override readonly name = "ChardevOptionError";
}

/** What `-serial TEXT`, `-monitor TEXT` or `-qmp TEXT` asks for. */
export type LegacyChardev =
  | { readonly kind: "none" }
  /** An existing chardev (`chardev:ID`). */
  | { readonly kind: "chardev"; readonly id: string }
  | {
    readonly kind: "create";
    readonly options: ChardevOptions;
    /** The spelling began with `mon:`: a human monitor shares the device. */
    readonly monitor: boolean;
  };

/** Properties by name, as `-chardev` gives them; `backend` is the implied first one. */
export type ChardevProperties = ReadonlyMap<string, string>;

/** Bytes. */
export const DEFAULT_RINGBUF_SIZE = 65536;

/** Every property of -chardev in QEMU 11.1, and `cpr`, which is molt's. */
const knownProperties: ReadonlySet<string> = new Set([
  ...["id", "backend", "path", "input-path", "host", "port", "fd", "localaddr", "localport"],
  ...["to", "ipv4", "ipv6", "wait", "server", "delay", "nodelay", "reconnect-ms", "telnet"],
  ...["tn3270", "tls-creds", "tls-authz", "websocket", "width", "height", "cols", "rows", "mux"],
  ...["signal", "name", "debug", "size", "chardev", "append", "logfile", "mouse", "clipboard"],
  ...["logappend", "abstract", "tight", "cpr"],
]);

/** QEMU's backends that molt does not have, with what to use instead. */
const foreignBackends: Readonly<Record<string, string>> = {
  serial: "give the terminal to 'fd' or 'pipe'",
  parallel: "there is no parallel port",
  vc: "there is no display; use 'stdio', 'pty' or 'socket'",
  udp: "use 'socket'",
  hub: "use 'mux=on'",
  memory: "use 'ringbuf'",
  "qemu-vdagent": "there is no display",
  spicevmc: "there is no display",
  spiceport: "there is no display",
  msmouse: "there is no display",
  wctablet: "there is no display",
  braille: "there is no display",
  testdev: "use 'socket'",
  dbus: "there is no display",
};

/** True for a name that QEMU takes as an id (util/id.c: letters, digits, `-._`, a letter first). */
export function isWellFormedId(id: string): boolean {
  return /^[A-Za-z][A-Za-z0-9._-]*$/.test(id);
}

function fail(message: string): never {
  throw new ChardevOptionError(message);
}

function flag(properties: ChardevProperties, name: string, byDefault: boolean): boolean {
  const value = properties.get(name);
  if (value === undefined) return byDefault;
  if (value === "on" || value === "yes" || value === "true" || value === "y") return true;
  if (value === "off" || value === "no" || value === "false" || value === "n") return false;
  fail(`Parameter '${name}' expects 'on' or 'off'`);
}

function wholeNumber(properties: ChardevProperties, name: string): number | undefined {
  const value = properties.get(name);
  if (value === undefined) return undefined;
  if (!/^(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(value) || !Number.isSafeInteger(Number(value))) {
    fail(`Parameter '${name}' expects a number`);
  }
  return Number(value);
}

const sizeSuffixes = "BKMGTPE";

function size(properties: ChardevProperties, name: string): number | undefined {
  const value = properties.get(name);
  if (value === undefined) return undefined;
  const match = /^([0-9]+(?:\.[0-9]+)?)([bBkKmMgGtTpPeE]?)$/.exec(value);
  const scale = sizeSuffixes.indexOf(match?.[2]?.toUpperCase() || "B");
  const bytes = Math.floor(Number(match?.[1]) * 1024 ** scale);
  if (match === null || !Number.isSafeInteger(bytes)) {
    fail(`Parameter '${name}' expects a non-negative number below 2^64`);
  }
  return bytes;
}

/** Refuses what would change how a socket behaves and is not there. */
function refuseForeignSocketOptions(properties: ChardevProperties): void {
  for (const name of ["telnet", "tn3270", "websocket"]) {
    if (flag(properties, name, false)) {
      fail(`Parameter '${name}' does not accept value 'on': only plain sockets are supported`);
    }
  }
  for (const name of ["tls-creds", "tls-authz", "to", "ipv4", "ipv6"]) {
    if (!properties.has(name)) continue;
    wholeNumber(name === "to" ? properties : new Map(), name);
    fail(`Parameter '${name}' is not supported by socket chardevs`);
  }
  if (!flag(properties, "tight", true)) {
    fail("Parameter 'tight' does not accept value 'off'");
  }
}

function socketAddress(properties: ChardevProperties): ChardevAddress {
  const path = properties.get("path");
  const host = properties.get("host");
  const fd = properties.get("fd");
  if ([path, host, fd].filter((value) => value !== undefined).length > 1) {
    fail("None or one of 'path', 'fd' or 'host' option required.");
  }
  if (path !== undefined && path !== "") {
    return { kind: "unix", path, abstract: flag(properties, "abstract", false) };
  }
  if (path !== undefined) fail("chardev: socket: no path given");
  if (host !== undefined) {
    const port = properties.get("port");
    if (port === undefined) fail("chardev: socket: no port given");
    return { kind: "inet", host, port };
  }
  if (fd === undefined || !/^[0-9]+$/.test(fd)) fail(`Unable to parse FD number ${fd ?? ""}`);
  return { kind: "fd", fd: Number(fd) };
}

function socketBackend(properties: ChardevProperties): ChardevBackendOptions {
  refuseForeignSocketOptions(properties);
  const server = flag(properties, "server", false);
  const wait = flag(properties, "wait", server);
  const reconnectMs = wholeNumber(properties, "reconnect-ms");
  const address = socketAddress(properties);
  if (!server) {
    if (properties.has("wait")) {
      fail("'wait' option is incompatible with socket in client connect mode");
    }
    return { kind: "socket", address, role: { kind: "client", reconnectMs: reconnectMs ?? 0 } };
  }
  if (reconnectMs !== undefined && reconnectMs !== 0) {
    fail("'reconnect-ms' option is incompatible with socket in server listen mode");
  }
  return { kind: "socket", address, role: { kind: "server", wait } };
}

function required(properties: ChardevProperties, name: string, otherwise: string): string {
  return properties.get(name) ?? fail(otherwise);
}

/** Checks a ring buffer's size, in bytes, as QEMU does. */
export function checkRingbufSize(size: number): void {
  if (size <= 0 || !Number.isInteger(Math.log2(size))) {
    fail("size of ringbuf chardev must be power of two");
  }
}

function backend(properties: ChardevProperties): ChardevBackendOptions {
  const name = properties.get("backend") ??
    fail(`chardev: "${properties.get("id")}" missing backend`);
  const path = properties.get("path");
  switch (name) {
    case "null":
      return { kind: "null" };
    case "file": {
      const inputPath = properties.get("input-path");
      return {
        kind: "file",
        path: path ?? fail("chardev: file: no filename given"),
        append: flag(properties, "append", false),
        ...(inputPath === undefined ? {} : { inputPath }),
      };
    }
    case "stdio":
      return { kind: "stdio", signal: flag(properties, "signal", true) };
    case "pty":
      return { kind: "pty", ...(path === undefined ? {} : { path }) };
    case "pipe":
      return { kind: "pipe", path: path ?? fail("chardev: pipe: no device path given") };
    case "ringbuf": {
      const bytes = size(properties, "size") || DEFAULT_RINGBUF_SIZE;
      checkRingbufSize(bytes);
      return { kind: "ringbuf", size: bytes };
    }
    case "fd": {
      const fd = wholeNumber(properties, "fd") ?? fail("chardev: fd: no descriptor given");
      return { kind: "fd", fd };
    }
    case "socket":
      return socketBackend(properties);
    case "mux":
      return {
        kind: "mux",
        chardev: required(properties, "chardev", "chardev: mux: no chardev given"),
      };
  }
  const advice = foreignBackends[name];
  if (advice !== undefined) fail(`'${name}' is not a char driver of molt: ${advice}`);
  fail(`'${name}' is not a valid char driver name`);
}

/** The options that the properties of `-chardev BACKEND,id=ID,...` ask for. */
export function chardevFromProperties(properties: ChardevProperties): ChardevOptions {
  for (const name of properties.keys()) {
    if (!knownProperties.has(name)) fail(`Invalid parameter '${name}'`);
  }
  const id = properties.get("id") ?? fail("chardev: no id specified");
  if (!isWellFormedId(id)) fail("Parameter 'id' expects an identifier");
  const logfile = properties.get("logfile");
  return {
    id,
    backend: backend(properties),
    ...(logfile === undefined ? {} : { logfile }),
    logappend: flag(properties, "logappend", false),
    mux: flag(properties, "mux", false),
    cpr: flag(properties, "cpr", false),
  };
}

/**
 * `key=value,key=value` as the short spellings and monitors use it: `,,` is a comma, the first value may stand
 * without its key, `server` means `server=on` and `nowait` means `wait=off`.
 */
export function parseProperties(text: string, impliedKey?: string): [string, string][] {
  if (text === "") return [];
  return text.replaceAll(",,", "\0").split(",").map((part, index) => {
    const item = part.replaceAll("\0", ",");
    const equals = item.indexOf("=");
    if (equals >= 0) return [item.slice(0, equals), item.slice(equals + 1)];
    if (index === 0 && impliedKey !== undefined) return [impliedKey, item];
    return item.startsWith("no") ? [item.slice(2), "off"] : [item, "on"];
  });
}

/** The properties that a short spelling without `mon:` stands for. */
function legacyProperties(text: string): [string, string][] {
  const colon = text.indexOf(":");
  const scheme = colon < 0 ? text : text.slice(0, colon);
  const rest = colon < 0 ? undefined : text.slice(colon + 1);
  switch (scheme) {
    case "null":
    case "stdio":
    case "pty":
    case "vc":
    case "msmouse":
    case "wctablet":
    case "braille":
    case "testdev":
      if (rest === undefined || scheme === "vc") return [["backend", scheme]];
      break;
    case "file":
    case "pipe":
      if (rest !== undefined) return [["backend", scheme], ["path", rest]];
      break;
    case "fd":
      if (rest !== undefined && /^[0-9]+$/.test(rest)) return [["backend", "fd"], ["fd", rest]];
      break;
    case "unix":
      if (rest !== undefined) return [["backend", "socket"], ...parseProperties(rest, "path")];
      break;
    case "udp":
      return [["backend", "udp"]];
    case "tcp":
    case "telnet":
    case "tn3270":
    case "websocket": {
      const match = /^([^:,]*):([^,]+)(?:,(.*))?$/s.exec(rest ?? "");
      if (match === null) fail(`'${text}' does not name a host and a port (${scheme}:HOST:PORT)`);
      return [
        ["backend", "socket"],
        ["host", match[1] ?? ""],
        ["port", match[2] ?? ""],
        ...(scheme === "tcp" ? [] : [[scheme, "on"] satisfies [string, string]]),
        ...parseProperties(match[3] ?? ""),
      ];
    }
  }
  if (text.startsWith("/dev/")) return [["backend", "serial"]];
  fail(`'${text}' is not a valid char driver`);
}

/**
 * What a short spelling asks for: `stdio`, `null`, `none`, `pty`, `file:PATH`, `pipe:PATH`,
 * `unix:PATH,server=on,wait=off`, `tcp:HOST:PORT,server=on`, `fd:N`, `chardev:ID`, and any of them
 * that creates a device after `mon:`. A device that is created gets the id `id` (`serial0`, ...).
 */
export function parseLegacyChardev(text: string, id: string): LegacyChardev {
  if (text === "none") return { kind: "none" };
  if (text.startsWith("chardev:")) return { kind: "chardev", id: text.slice("chardev:".length) };
  const monitor = text.startsWith("mon:");
  const properties = new Map([["id", id]]);
  for (const [name, value] of legacyProperties(monitor ? text.slice("mon:".length) : text)) {
    properties.set(name, value);
  }
  // With the monitor on the same terminal, Ctrl-C belongs to the guest.
  if (monitor) {
    properties.set("mux", "on");
    if (properties.get("backend") === "stdio") properties.set("signal", "off");
  }
  return { kind: "create", options: chardevFromProperties(properties), monitor };
}
