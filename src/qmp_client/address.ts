/** Where a QMP server listens. */
import { QmpError } from "./errors.ts";

/** A unix socket or a TCP port. */
export type QmpAddress =
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number };

const inet = /^(?:tcp:)?(?:\[([0-9a-fA-F:]+)\]|([^/:[\]]+)):(\d{1,5})$/;

/**
 * Reads `/run/vm/qmp.sock`, `unix:PATH`, `HOST:PORT`, `tcp:HOST:PORT` or `[IPV6]:PORT`. What follows
 * a comma is left out, so that the value of a `-qmp` option will do.
 */
export function parseQmpAddress(text: string): QmpAddress {
  const [address = ""] = text.split(",", 1);
  const match = inet.exec(address);
  if (match && !address.startsWith("unix:")) {
    const [, v6, host, port] = match;
    const hostname = v6 ?? host ?? "";
    if (Number(port) > 65535) throw new QmpError(`${text}: port ${port} is above 65535`);
    return { transport: "tcp", hostname, port: Number(port) };
  }
  const path = address.replace(/^unix:/, "");
  if (path === "") throw new QmpError(`'${text}' names no QMP server: give PATH or HOST:PORT`);
  return { transport: "unix", path };
}

/** The address as people write it. */
export function formatQmpAddress(address: QmpAddress): string {
  if (address.transport === "unix") return address.path;
  const { hostname, port } = address;
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}
