/**
 * deno task migrate: a running guest goes to another process, here or on another host.
 *
 *   the destination waits -> its address -> settings on both sides -> migrate, the guest running
 *   -> the guest stops, its last pages go over -> it runs at the destination -> the source ends
 */
import type { QmpClient } from "../src/qmp_client/mod.ts";
import { checkMovable, configure, follow, formatBytes, type Settings } from "./lib/migration.ts";
import { address, count, flag, type OptionsOf, value } from "./lib/options.ts";
import { type DetachedProgram, nameOf, processOf } from "./lib/processes.ts";
import { ExitStatus, messageOf, runScript, type Script, ScriptError } from "./lib/script.ts";
import { requireUser } from "./lib/users.ts";
import {
  awaitArrival,
  connectToSuccessor,
  planSuccessor,
  startWaiting,
  type SuccessorMonitor,
  takePlace,
} from "./lib/successor.ts";

const options = {
  "qmp": address("the running machine's monitor: a unix socket's path, or HOST:PORT"),
  "to": value(
    "URI",
    "where the destination listens: tcp:HOST:PORT or unix:PATH; default: one is " +
      "started here",
  ).optional(),
  "destination-qmp": address(
    "the monitor of the destination, with --to; it is prepared too, " +
      "and checked, and asked to listen if it was started with -incoming defer",
  ).optional(),
  "channels": count("N", 0, "so many connections carry memory (multifd); 0: the main one").default(
    0,
  ),
  "bandwidth": count("MIB", 0, "limit in MiB per second; 0: none").default(0),
  "downtime": count("MS", 0, "how long the guest may be paused in the end").default(300),
  "auto-converge": flag("slow the guest down if it changes memory faster than it can be sent"),
  "log": value("FILE", "where what a destination started here prints is added; default: nowhere")
    .optional(),
  "timeout": count("SECONDS", 1, "how long a destination may take to answer").default(30),
};

await runScript({
  usage: "migrate --qmp ADDRESS [--to URI] [OPTION ...] [-- COMMAND ...]",
  about: `
Moves a running guest to another process by live migration: its memory is sent while it runs. Ctrl-C
cancels, and the guest runs on where it is. When it has arrived, the source ends.

With --to the destination has been started there, with the same options and -incoming URI, or with
-incoming defer and a monitor for --destination-qmp.
Without --to it is started on this host: COMMAND is its program with all arguments, without -incoming;
by default the command line of the running process, with PATH.next for the paths of server sockets and
of -pidfile: they get their names when the source has ended.

It works with molt, with QEMU, and from one to the other.`,
  options,
}, async (script) => {
  const { options } = script;
  await using cleanup = new AsyncDisposableStack();
  const machine = cleanup.use(await script.connect(options.qmp));
  const before = await checkMovable(machine);
  script.report({ before: nameOf(machine) });
  script.say(`the guest is ${before} in ${nameOf(machine)}`);

  await using undo = new AsyncDisposableStack();
  const prepare = options.to === undefined ? startHere : prepareThere;
  const destination = await prepare(script, machine, { cleanup, undo });
  cleanup.use(await configure(script, machine, sourceSettings(options)));
  using stops = machine.events("STOP");
  await script.change(machine, "migrate", { uri: destination.uri });
  const sent = await script.wait("the migration has completed", async () => {
    const { program } = destination;
    const sending = () => follow(script, machine);
    return program ? await program.explaining(sending) : await sending();
  });
  undo.move();

  const { monitor } = destination;
  const arrival = await script.wait("the guest goes on at the destination", async () => {
    try {
      return monitor && await awaitArrival(monitor, AbortSignal.timeout(options.timeout * 1000));
    } catch (cause) {
      const text = "the guest is at the destination, but";
      throw new ScriptError(ExitStatus.lost, `${text} ${messageOf(cause)}`, { cause });
    }
  });
  await destination.finish();
  if (!sent) return;
  const [stop] = stops.takeAll();
  // A guest that was paused has missed nothing.
  const pause = stop && (arrival ? (arrival.time - stop.time) / 1000 : sent.downtime);
  const bytes = sent.ram?.transferred ?? 0;
  const duration = sent["total-time"] ?? 0;
  const pid = destination.program?.pid;
  script.report({ pid, program: arrival?.name, status: arrival?.status, bytes, duration, pause });
  script.say(
    `the guest ${arrival ? `is ${arrival.status} in ${arrival.name}` : "has arrived"}: ` +
      `${formatBytes(bytes)} in ${(duration / 1000).toFixed(1)} s` +
      (pause === undefined ? "" : `; it ran all the time but for ${pause.toFixed(1)} ms`),
  );
});

/** Where the guest goes. */
interface Destination {
  readonly uri: string;
  readonly monitor: SuccessorMonitor | undefined;
  /** Its process, if it was started here. */
  readonly program: DetachedProgram | undefined;
  /** Ends the source. */
  readonly finish: () => Promise<void>;
}

/** What to dispose in the end, and what only if the guest stays where it is. */
interface Stacks {
  readonly cleanup: AsyncDisposableStack;
  readonly undo: AsyncDisposableStack;
}

type MigrateScript = Script<typeof options>;

async function startHere(
  script: MigrateScript,
  machine: QmpClient,
  { cleanup, undo }: Stacks,
): Promise<Destination> {
  const { options } = script;
  const limit = options.timeout * 1000;
  const old = await processOf(machine);
  if (!script.command || Deno.uid() !== 0) {
    requireUser(old.pid, "a destination that is started here", { root: false });
  }
  const plan = planSuccessor(script.command, old, ["defer"], {
    monitor: options["destination-qmp"],
    mode: "normal",
  });
  const folder = await Deno.makeTempDir({ prefix: "molt-migrate-" });
  cleanup.defer(() => Deno.remove(folder, { recursive: true }));
  const log = options.log ?? `${folder}/log`;
  const waiting = await startWaiting(script, undo, plan, { log, limit });
  if (waiting) cleanup.use(waiting.client);
  const target = waiting?.client ?? plan.address;
  const uri = `unix:${folder}/main`;
  cleanup.use(await configure(script, target, bothSides(options)));
  await script.change(target, "migrate-incoming", { uri });
  return {
    uri,
    monitor: waiting,
    program: waiting?.program,
    finish: () => takePlace(script, { plan, machine, successor: waiting?.client, old, limit }),
  };
}

async function prepareThere(
  script: MigrateScript,
  machine: QmpClient,
  { cleanup }: Stacks,
): Promise<Destination> {
  const { to: uri = "", "destination-qmp": address } = script.options;
  const finish = async () => {
    await script.change(machine, "quit", {});
    await script.wait("the source has ended", () => machine.closed);
  };
  if (address === undefined) return { uri, monitor: undefined, program: undefined, finish };
  const monitor = await connectToSuccessor(address, AbortSignal.timeout(10_000));
  const client = cleanup.use(monitor.client);
  const { status } = await client.execute("query-status");
  if (status !== "inmigrate") {
    throw new ScriptError(ExitStatus.unavailable, `the destination does not wait: it is ${status}`);
  }
  const { status: listening } = await client.execute("query-migrate");
  if (listening !== undefined && listening !== "none") {
    return { uri, monitor, program: undefined, finish };
  }
  cleanup.use(await configure(script, client, bothSides(script.options)));
  await script.change(client, "migrate-incoming", { uri });
  return { uri: await boundUri(client, uri), monitor, program: undefined, finish };
}

/** What both sides have to agree on. */
function bothSides({ channels }: OptionsOf<typeof options>): Settings {
  if (channels === 0) return {};
  return { capabilities: ["multifd"], parameters: { "multifd-channels": channels } };
}

function sourceSettings(given: OptionsOf<typeof options>): Settings {
  const { capabilities = [], parameters } = bothSides(given);
  return {
    // With the return path the source learns whether the guest has arrived.
    capabilities: [
      ...capabilities,
      "return-path",
      ...(given["auto-converge"] ? ["auto-converge" as const] : []),
    ],
    parameters: {
      ...parameters,
      "max-bandwidth": given.bandwidth * 1024 * 1024,
      "downtime-limit": given.downtime,
    },
  };
}

/** With port 0 the destination has chosen one. */
async function boundUri(destination: QmpClient, uri: string): Promise<string> {
  if (!uri.endsWith(":0")) return uri;
  const { "socket-address": [address] = [] } = await destination.execute("query-migrate");
  return uri.replace(/:0$/, `:${address?.["port"]}`);
}
