/** Moving a guest from one process to another, by every way there is. */
import { assertEquals } from "@std/assert";
import {
  awaitMigration,
  type MigrationCapability,
  type MigrationParameters,
  QmpClient,
} from "../../src/qmp_client/mod.ts";
import { executeWithDescriptor } from "./given_descriptor.ts";
import { patience } from "./patience.ts";
import { socketPair } from "../../src/native/socket.ts";
import type { HeartbeatMachineOptions } from "./heartbeat_machine.ts";
import type { Vmm } from "./programs.ts";
import type { TemporaryDirectory } from "./temporary_directory.ts";
import { VirtualMachine } from "./virtual_machine.ts";

/** Where one move of several goes. */
export interface Place {
  readonly directory: TemporaryDirectory;
  /** 1 for the first. */
  readonly move: number;
}

/** A way to move a guest. */
export interface Route {
  readonly name: string;
  /** So often there and back. */
  readonly rounds: number;
  readonly capabilities?: readonly MigrationCapability[];
  readonly parameters?: MigrationParameters;
  /** What is special about the machine. */
  readonly machine?: (shm: TemporaryDirectory) => HeartbeatMachineOptions;
  /** Whether the state is complete in a file before anybody reads it. */
  readonly stored: boolean;
  /** Where the source sends to. */
  readonly uri: (place: Place) => string;
  /** Where the destination receives from, if it says that in another way. */
  readonly incoming?: (place: Place) => string;
  /** The destination is started with -incoming and that address instead of `defer`. */
  readonly immediate?: boolean;
  /** How a process is started that a move leads to: a program before it, and options. */
  readonly launch?: (place: Place) => { readonly launcher: string[]; readonly options: string[] };
  /** Lets both sides begin, if it takes more than their addresses. */
  readonly begin?: (place: Place) => Promise<void>;
}

const path = ({ directory, move }: Place, name: string) => directory.file(`${name}.${move}`);
const file = (place: Place) => `file:${path(place, "state")}`;
const unix = (place: Place) => `unix:${path(place, "migration.sock")}`;
const tcp = () => "tcp:127.0.0.1:0";

const stored = { stored: true, uri: file, rounds: 10 } as const;
const live = { stored: false, rounds: 10 } as const;
/** Other writings and settings of the ways that come first. */
const rounds = 2;

function inSharedFile(shm: TemporaryDirectory): HeartbeatMachineOptions {
  return { shared: { file: shm.file("ram") } };
}

/** Starts a program with a second monitor, for descriptors. */
function launchWithMonitor(place: Place): { launcher: string[]; options: string[] } {
  return {
    launcher: [],
    options: ["-qmp", `unix:${path(place, "descriptors")},server=on,wait=off`],
  };
}

/** Gives the destination and the source of a move a connection to each other, and begins it. */
async function beginWithSockets(place: Place): Promise<void> {
  const [outgoing, incoming] = socketPair();
  using _ = outgoing;
  using __ = incoming;
  const source = path({ ...place, move: place.move - 1 }, "descriptors");
  const target = path(place, "descriptors");
  await executeWithDescriptor(target, incoming, "in", "migrate-incoming", { uri: "fd:in" });
  await executeWithDescriptor(source, outgoing, "out", "migrate", { uri: "fd:out" });
}

/** Starts a program with a file to read from in its set of descriptors 1 and one to write to in set 2. */
function launchWithFiles(place: Place): { launcher: string[]; options: string[] } {
  const [incoming, outgoing] = [place.move, place.move + 1]
    .map((move) => path({ ...place, move }, "state"));
  const script = ': >>"$1"; exec 5<"$1" 6>"$2"; shift 2; exec "$@"';
  return {
    launcher: ["sh", "-c", script, "sh", incoming ?? "", outgoing ?? ""],
    options: ["-add-fd", "fd=5,set=1", "-add-fd", "fd=6,set=2"],
  };
}

/** All ways on which molt and QEMU have to agree. */
export const routes: readonly Route[] = [
  { name: "file", ...stored },
  { name: "unix", ...live, uri: unix },
  { name: "tcp", ...live, uri: tcp },
  {
    name: "tcp with switchover-ack",
    ...live,
    capabilities: ["return-path", "switchover-ack"],
    uri: tcp,
  },
  { name: "multifd tcp", ...live, capabilities: ["multifd"], uri: tcp },
  { name: "mapped-ram", ...stored, capabilities: ["mapped-ram"] },
  {
    name: "mapped-ram, multifd, direct-io",
    ...stored,
    capabilities: ["mapped-ram", "multifd"],
    parameters: { "direct-io": true },
  },
  { name: "unix with -incoming", ...live, uri: unix, immediate: true, rounds },
  { name: "file with -incoming", ...stored, immediate: true, rounds },
  {
    name: "exec",
    stored: true,
    rounds,
    uri: (place) => `exec:cat >${path(place, "state")}`,
    incoming: (place) => `exec:cat ${path(place, "state")}`,
  },
  {
    name: "fd",
    stored: false,
    rounds,
    uri: () => "fd:out",
    launch: launchWithMonitor,
    begin: beginWithSockets,
  },
  {
    name: "mapped-ram in sets of descriptors",
    stored: true,
    rounds,
    capabilities: ["mapped-ram", "multifd"],
    uri: () => "file:/dev/fdset/2",
    incoming: () => "file:/dev/fdset/1",
    launch: launchWithFiles,
  },
  {
    name: "file at an offset",
    stored: true,
    rounds,
    capabilities: ["mapped-ram"],
    uri: (place) => `${file(place)},offset=0x300000`,
  },
  ...(["zlib", "zstd"] as const).map((compression): Route => ({
    name: `multifd unix, ${compression}`,
    stored: false,
    rounds,
    capabilities: ["multifd"],
    parameters: { "multifd-compression": compression, "multifd-channels": 3 },
    // Compression takes the CPU time that the guest would like to have.
    machine: () => ({ append: "memory=16 rate=20" }),
    uri: unix,
  })),
  {
    name: "multifd tcp, zero pages found by the main thread",
    stored: false,
    rounds,
    capabilities: ["multifd", "return-path"],
    parameters: { "zero-page-detection": "legacy" },
    uri: tcp,
  },
  {
    name: "memory in place (x-ignore-shared)",
    ...stored,
    rounds,
    capabilities: ["x-ignore-shared"],
    machine: inSharedFile,
  },
  {
    name: "cpr-reboot, memory in place",
    ...stored,
    rounds,
    capabilities: ["x-ignore-shared"],
    parameters: { "mode": "cpr-reboot" },
    machine: inSharedFile,
  },
  {
    name: "cpr-reboot, memory in the file",
    ...stored,
    rounds,
    capabilities: ["mapped-ram"],
    parameters: { "mode": "cpr-reboot" },
  },
];

/** Prepares either side for a route. */
export async function configure(client: QmpClient, route: Route): Promise<void> {
  const { capabilities = [], parameters } = route;
  if (capabilities.length > 0) {
    await client.execute("migrate-set-capabilities", {
      capabilities: capabilities.map((capability) => ({ capability, state: true })),
    });
  }
  if (parameters) await client.execute("migrate-set-parameters", parameters);
}

/** Starts the process that a move leads to. */
async function startTarget(
  vmm: Vmm,
  options: readonly string[],
  route: Route,
  place: Place,
): Promise<VirtualMachine> {
  const { directory, move } = place;
  const { launcher = [], options: more = [] } = route.launch?.(place) ?? {};
  const incoming = ["-incoming", route.immediate ? route.uri(place) : "defer"];
  const all = [...options, ...more, ...incoming];
  return await VirtualMachine.start(vmm, all, { directory, name: `${move}`, launcher });
}

/**
 * Moves the guest of `source` to a new process of `vmm`, with these options. It runs there when this
 * returns, and the source has stopped for good.
 */
export async function move(
  source: VirtualMachine,
  vmm: Vmm,
  options: readonly string[],
  route: Route,
  place: Place,
  signal: AbortSignal = patience(),
): Promise<VirtualMachine> {
  const sides = [source];
  await using undo = new AsyncDisposableStack();
  const start = async () => {
    const started = undo.use(await startTarget(vmm, options, route, place));
    sides.push(started);
    if (!route.immediate) await configure(started.qmp, route);
    return started;
  };
  const outgoing = route.uri(place);
  const incoming = route.incoming?.(place) ?? outgoing;
  let target: VirtualMachine;
  try {
    await configure(source.qmp, route);
    if (route.stored) {
      await source.qmp.execute("migrate", { uri: outgoing });
      await awaitMigration(source.qmp, { signal });
      target = await start();
      if (!route.immediate) await target.qmp.execute("migrate-incoming", { uri: incoming });
    } else {
      target = await start();
      if (route.begin) {
        await route.begin(place);
      } else {
        if (!route.immediate) await target.qmp.execute("migrate-incoming", { uri: incoming });
        await source.qmp.execute("migrate", { uri: await boundUri(target.qmp, outgoing) });
      }
      await awaitMigration(source.qmp, { signal });
    }
    await awaitMigration(target.qmp, { signal });
    assertEquals((await source.qmp.execute("query-status")).status, "postmigrate");
    assertEquals((await target.qmp.execute("query-status")).status, "running");
  } catch (cause) {
    const reported = sides.map((side) => side.describe()).join("\n");
    throw new Error(`cannot move the guest by ${route.name}:\n${reported}`, { cause });
  }
  undo.move();
  return target;
}

/** The address at which a destination listens: with port 0 it has chosen a port. */
async function boundUri(target: QmpClient, uri: string): Promise<string> {
  if (!uri.endsWith(":0")) return uri;
  const { "socket-address": [address] = [] } = await target.execute("query-migrate");
  return uri.replace(/:0$/, `:${address?.["port"]}`);
}
