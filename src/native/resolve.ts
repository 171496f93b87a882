/** Names and numbers of hosts and services as socket addresses: getaddrinfo. */
import { cString } from "./library.ts";
import { threads } from "./thread_pool.ts";

/** AF_* of <sys/socket.h>. */
export const AddressFamily = { any: 0, unix: 1, inet: 2, inet6: 10 } as const;

/** Bytes that molt_resolve keeps for an address. */
const SLOT = 32;
const ROOM = 16;

const PORT_LIMIT = 65535;

/** EAI_* of <netdb.h> with the C library's texts. */
const resolutionErrors: Readonly<Record<number, string>> = {
  2: "Name or service not known",
  3: "Temporary failure in name resolution",
  4: "Non-recoverable failure in name resolution",
  5: "No address associated with hostname",
  6: "ai_family not supported",
  7: "ai_socktype not supported",
  8: "Servname not supported for ai_socktype",
  9: "Address family for hostname not supported",
};

/** The struct sockaddrs of a host and service, best first. `passive`: addresses to listen on. */
export async function resolveInet(
  { host, port, family }: { host: string; port: string; family?: 4 | 6 },
  passive: boolean,
): Promise<Uint8Array<ArrayBuffer>[]> {
  // getaddrinfo would take the lower 16 bits.
  if (/^\d+$/.test(port) && Number(port) > PORT_LIMIT) {
    throw new Error(
      `address resolution failed for ${host}:${port}: a port is at most ${PORT_LIMIT}`,
    );
  }
  const addresses = new Uint8Array(SLOT * ROOM);
  const hostText = cString(host);
  const portText = cString(port);
  const count = await threads.molt_resolve(
    hostText,
    portText,
    passive ? 1 : 0,
    family === 4 ? AddressFamily.inet : family === 6 ? AddressFamily.inet6 : AddressFamily.any,
    addresses,
    ROOM,
  );
  if (count < 0) {
    const reason = resolutionErrors[-count - 1000] ?? `error ${-count - 1000}`;
    throw new Error(`address resolution failed for ${host}:${port}: ${reason}`);
  }
  return Array.from({ length: count }, (_, i) => {
    const length = addresses[SLOT * i] === AddressFamily.inet ? 16 : 28;
    return addresses.slice(SLOT * i, SLOT * i + length);
  });
}
