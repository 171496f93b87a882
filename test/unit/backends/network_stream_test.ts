/** Stream network backends: connections that come and go, and an end in the middle of it. */
import { assert, assertEquals } from "@std/assert";
import { StreamBackend } from "../../../src/backends/network/stream.ts";
import { accept, boundAddress, listen } from "../../../src/native/socket.ts";
import { Bench, until } from "./bench.ts";

const LOCALHOST = { kind: "inet", host: "127.0.0.1" } as const;

/** What a backend gets from outside, and which ports it has announced: `stream`, or `none`. */
function environmentOf(bench: Bench) {
  return {
    loop: bench.loop,
    adopt: bench.adopt,
    takeNamedDescriptor: () => undefined,
    report: (line: string) => bench.reported.push(line),
  };
}

function openDescriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

Deno.test("a client comes back to its server, and a server takes the next client", async () => {
  await using bench = new Bench();
  const path = bench.path("net");
  const address = { kind: "unix", path, abstract: false } as const;
  using server = await StreamBackend.open(
    "server",
    { server: true, address, reconnectMs: 0 },
    environmentOf(bench),
  );
  using client = await StreamBackend.open(
    "client",
    { server: false, address, reconnectMs: 1 },
    environmentOf(bench),
  );
  const ports: string[] = [];
  server.portChanged = () => ports.push(server.port().kind);
  await until(() => server.port().kind === "stream");
  for (let round = 0; round < 3; round++) {
    client.lost();
    server.lost();
    await until(() => server.port().kind === "stream" && client.port().kind === "stream");
  }
  assertEquals(ports.slice(-6), ["none", "stream", "none", "stream", "none", "stream"]);
});

Deno.test("a connection that comes after the backend's end is closed, and nobody hears of it", async () => {
  await using bench = new Bench();
  // A port at which nobody listens yet: the backend tries again and again.
  const port = await freePort();
  const address = { ...LOCALHOST, port: String(port) };
  const backend = await StreamBackend.open(
    "late",
    { server: false, address, reconnectMs: 50 },
    environmentOf(bench),
  );
  const ports: string[] = [];
  backend.portChanged = () => ports.push(backend.port().kind);

  // The queue of this server is full, so that the next attempt neither fails nor succeeds.
  using server = await listen(address, 0);
  using _first = await Deno.connect({ hostname: "127.0.0.1", port });
  await until(() => connectingTo(port));
  const descriptors = openDescriptors();
  backend[Symbol.dispose]();
  using _ = accept(server.fd);

  // The attempt succeeds now, when the kernel repeats it, and what comes of it is closed.
  let late = accept(server.fd);
  await until(() => (late ??= accept(server.fd)) !== undefined);
  using connection = late;
  assert(connection !== undefined);
  await until(() => openDescriptors() < descriptors + 2);
  assertEquals(ports, []);
});

/** The number of a port at which nobody listens. */
async function freePort(): Promise<number> {
  using socket = await listen({ ...LOCALHOST, port: "0" });
  const bound = boundAddress(socket.fd);
  if (bound.kind !== "inet") throw new Error("an inet socket has an inet address");
  return bound.port;
}

/** Whether this host has a connection to `port` that waits for the answer to its SYN. */
function connectingTo(port: number): boolean {
  const SYN_SENT = "02";
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return Deno.readTextFileSync("/proc/net/tcp").split("\n").some((line) => {
    const [, , remote = "", state] = line.trim().split(/\s+/);
    return remote.endsWith(wanted) && state === SYN_SENT;
  });
}
