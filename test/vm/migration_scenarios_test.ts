/** What QEMU's own migration tests do with a machine, done with molt: the same steps in the same order. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { thorough } from "../support/thorough.ts";
import {
  awaitDirtyMemory,
  MigrationPair,
  type PairOptions,
  until,
  type Way,
} from "./migration_pair.ts";

const tcp: Way = { uri: "tcp:127.0.0.1:0" };
const tcpChannel: Way = {
  channels: [{
    "channel-type": "main",
    addr: { transport: "socket", type: "inet", host: "127.0.0.1", port: "0" },
  }],
};

/** Capabilities and parameters of both sides. */
interface Setup extends PairOptions {
  readonly capabilities?: readonly string[];
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
  /** Only among thorough tests: another one shows nearly the same. */
  readonly variation?: true;
}

/** Does the steps with a pair that was set up as `setup` says; both sides must end in good order. */
async function play(setup: Setup, steps: (pair: MigrationPair) => Promise<void>): Promise<void> {
  await using pair = await MigrationPair.start(setup);
  try {
    await configure(pair, setup);
    await steps(pair);
    await pair.end();
  } catch (cause) {
    throw new Error(`${cause}\n${await pair.describe()}`, { cause });
  }
}

function scenario(
  name: string,
  setup: Setup,
  steps: (pair: MigrationPair) => Promise<void>,
): void {
  const ignore = setup.variation === true && !thorough;
  Deno.test({ name, ignore, fn: () => play(setup, steps) });
}

async function configure(pair: MigrationPair, setup: Setup): Promise<void> {
  for (const side of [pair.source, pair.destination]) {
    for (const capability of setup.capabilities ?? []) await side.setCapability(capability);
    if (setup.capabilities?.includes("multifd")) await side.setParameter("multifd-channels", 4);
    for (const [name, value] of Object.entries(setup.parameters ?? {})) {
      await side.setParameter(name, value);
    }
  }
}

/** A live migration that first cannot end and then may. */
async function migrateLive(
  pair: MigrationPair,
  way: Way | ((pair: MigrationPair) => Way),
): Promise<void> {
  const { source, destination } = pair;
  await source.awaitRound();
  await source.neverConverge();
  await source.mark();
  await source.migrate(await pair.listen(typeof way === "function" ? way(pair) : way));
  await awaitDirtyMemory(pair);
  await source.converge();
  await source.completed();
  await source.machine.event("STOP");
  await destination.machine.event("RESUME");
  await destination.awaitRound();
  await pair.checkArrival();
}

const unix = (pair: MigrationPair): Way => ({ uri: `unix:${pair.directory.file("migration")}` });

function live(name: string, setup: Setup, way: Way | ((pair: MigrationPair) => Way)): void {
  scenario(name, setup, (pair) => migrateLive(pair, way));
}

live("live precopy over a unix socket", {}, unix);

live("live precopy over tcp with a return path", {
  capabilities: ["return-path"],
}, tcp);

for (const detection of ["multifd", "legacy", "none"]) {
  live(`live multifd, zero pages by ${detection}`, {
    capabilities: ["multifd"],
    parameters: { "zero-page-detection": detection },
    ...(detection === "legacy" ? {} : { variation: true }),
  }, tcp);
}

live("live multifd to a channel", { capabilities: ["multifd"], variation: true }, tcpChannel);

for (const compression of ["zlib", "zstd"]) {
  live(`live multifd with ${compression}`, {
    capabilities: ["multifd"],
    parameters: { "multifd-compression": compression },
    ...(compression === "zlib" ? { variation: true } : {}),
  }, tcp);
}

scenario("a stopped guest arrives stopped and goes on", { variation: true }, async (pair) => {
  const { source, destination } = pair;
  await source.awaitRound();
  await source.stop();
  await source.converge();
  await source.migrate(await pair.listen(tcp));
  await source.completed();
  await destination.completed();
  await destination.machine.execute("cont");
  await destination.awaitRound();
  await pair.checkArrival();
});

const wide: Setup = { capabilities: ["multifd"], parameters: { "multifd-channels": 16 } };

scenario("cancelled with multifd and tried again to another destination", wide, async (pair) => {
  const { source } = pair;
  await source.neverConverge();
  await source.mark();
  await source.awaitRound();
  pair.destination.machine.expectedStatus = 1;
  await source.migrate(await pair.listen(tcp));
  await awaitDirtyMemory(pair);
  await source.machine.execute("migrate_cancel");
  await pair.destination.awaitStatus("failed");
  await source.pollStatus("cancelled");

  await pair.startDestination();
  const { destination } = pair;
  await destination.setCapability("events");
  await destination.setCapability("multifd");
  await destination.setParameter("multifd-channels", 16);
  await source.neverConverge();
  await source.migrate(await pair.listen(tcp));
  await awaitDirtyMemory(pair);
  await source.converge();
  await source.machine.event("STOP");
  await destination.machine.event("RESUME");
  await destination.awaitRound();
  await source.completed();
  await pair.checkArrival();
});

const cancellable: Setup = { capabilities: ["pause-before-switchover", "return-path"] };

/** How each phase is reached, and kept until it is cancelled, once a migration has begun. */
const phases: Readonly<Record<string, (pair: MigrationPair) => Promise<void>>> = {
  "setup": ({ source }) => source.awaitStatus("setup"),
  "active": (pair) => awaitDirtyMemory(pair),
  "pre-switchover": async ({ source }) => {
    await source.converge();
    await source.awaitStatus("pre-switchover");
  },
  "device": async ({ source, destination }) => {
    await source.converge();
    await source.awaitStatus("pre-switchover");
    // A destination that reads nothing keeps the source from getting further.
    Deno.kill(destination.machine.pid, "SIGSTOP");
    await source.machine.execute("migrate-continue", { state: "pre-switchover" });
    await source.awaitStatus("device");
  },
};

scenario("cancelled in each phase, and tried again until it is done", cancellable, async (pair) => {
  const { source } = pair;
  await source.awaitRound();
  await source.mark();
  for (const [phase, reach] of Object.entries(phases)) {
    const { destination } = pair;
    destination.machine.expectedStatus = 1;
    await source.neverConverge();
    await source.migrate(await pair.listen(unix(pair)));
    await reach(pair);
    await source.machine.execute("migrate_cancel");
    await source.awaitStatus("cancelling");
    await source.pollStatus("cancelled", ["completed", "failed"]);
    await source.checkRunning();
    if (phase === "device") Deno.kill(destination.machine.pid, "SIGCONT");
    await destination.awaitStatus("failed");
    await pair.startDestination();
    assertStringIncludes(destination.machine.errorText, "load of migration failed: ", phase);
    await configure(pair, cancellable);
    await pair.destination.setCapability("events");
  }
  const { destination } = pair;
  await source.migrate(await pair.listen(unix(pair)));
  await source.awaitStatus("pre-switchover");
  await source.machine.execute("migrate-continue", { state: "pre-switchover" });
  await destination.machine.event("RESUME");
  await source.completed();
  await destination.awaitRound();
  await pair.checkArrival();
});

for (const phase of ["cancelling", "cancelled"]) {
  scenario(`cancelling again when it is ${phase} changes nothing`, {
    ...(phase === "cancelled" ? { variation: true } : {}),
  }, async (pair) => {
    const { source, destination } = pair;
    destination.machine.expectedStatus = 1;
    const way = await pair.listen(unix(pair));
    await source.awaitRound();
    await source.converge();
    await source.migrate(way);
    await source.machine.execute("migrate_cancel");
    await source.awaitStatus(phase);
    await source.machine.execute("migrate_cancel");
    await source.pollStatus("cancelled", ["completed"]);
    await destination.awaitStatus("failed");
  });
}

scenario("cancelling a migration that has failed leaves it failed", {}, async (pair) => {
  const { source } = pair;
  await source.awaitRound();
  await source.converge();
  await source.migrate(unix(pair));
  await source.awaitStatus("failed");
  await source.machine.execute("migrate_cancel");
  await source.pollStatus("failed", ["completed"]);
});

scenario("cancelling where there is nothing to cancel harms no migration", {}, async (pair) => {
  const { source, destination } = pair;
  await destination.machine.execute("migrate_cancel");
  await source.awaitRound();
  await source.machine.execute("migrate_cancel");
  const way = await pair.listen(unix(pair));
  await source.converge();
  await source.migrate(way);
  await source.awaitStatus("completed");
  await source.machine.execute("migrate_cancel");
  await source.completed();
  await destination.completed();
});

const traced = { both: ["-trace", "migration_*", "-msg", "timestamp=on"] };
scenario(
  "each phase of a migration is traced, and reported by x-query-update",
  traced,
  async (pair) => {
    const { source, destination } = pair;
    const way = await pair.listen(unix(pair));
    await source.converge();
    await source.migrate(way);
    await source.completed();
    await destination.completed();
    const line = /^\d+@\d+\.\d{6}:migration_phase (\S+) time \d+ us, bytes (\d+)$/gm;
    for (
      const [side, phases] of [
        [source, ["connect", "setup", "precopy", "stop", "device"]],
        [destination, ["load", "take-over", "resume"]],
      ] as const
    ) {
      const traced = [...side.machine.errorText.matchAll(line)];
      assertEquals(traced.map(([, phase]) => phase), phases);
      const { phases: records } = await side.machine.execute("x-query-update");
      assertEquals(records.map(({ phase }: { phase: string }) => phase), phases);
      const bytes = traced.reduce((sum, [, , bytes]) => sum + Number(bytes), 0);
      assert(bytes > 1 << 20, `${bytes} bytes`);
    }
  },
);

scenario("a destination that is not there is reported, and the guest runs on", {}, async (pair) => {
  await pair.listen(tcp);
  await pair.source.migrate(tcp);
  await pair.source.fails({ onceActive: false });
});

const OFFSET = 0x1000;
const MARKER_BYTE = 0x66;

/** A migration to a file and from it. */
async function migrateByFile(
  pair: MigrationPair,
  { stop, offset = 0 }: { readonly stop: boolean; readonly offset?: number },
): Promise<void> {
  const { source, destination, directory } = pair;
  const path = directory.file("state");
  const way = { uri: `file:${path}${offset === 0 ? "" : `,offset=${offset}`}` };
  if (offset > 0) await Deno.writeFile(path, new Uint8Array(offset).fill(MARKER_BYTE));
  await source.converge();
  await source.awaitRound();
  if (stop) await source.stop();
  await source.migrate(way);
  await source.completed();
  await pair.listen(way);
  await destination.completed();
  if (stop) await destination.machine.execute("cont");
  await until(() =>
    Promise.resolve(destination.machine.hasSeen("RESUME")).then(async (seen) =>
      seen || (await destination.machine.execute("query-status")).running
    )
  );
  await destination.awaitRound();
  if (offset > 0) {
    const bytes = await Deno.readFile(path);
    assert(bytes.subarray(0, offset).every((byte) => byte === MARKER_BYTE));
    assertEquals(new TextDecoder().decode(bytes.subarray(offset, offset + 4)), "QEVM");
  }
  await pair.checkArrival();
}

function byFile(name: string, setup: Setup, how: Parameters<typeof migrateByFile>[1]): void {
  scenario(name, setup, (pair) => migrateByFile(pair, how));
}

byFile("to a file and back, stopped", { variation: true }, { stop: true });

byFile("to a file at an offset, whose beginning is left alone", {}, {
  stop: false,
  offset: OFFSET,
});

for (const stop of [true, false]) {
  const how = stop ? "stopped" : "running";
  byFile(`to a mapped-ram file, ${how}`, {
    capabilities: ["mapped-ram"],
    ...(stop ? { variation: true } : {}),
  }, { stop });
  byFile(`to a mapped-ram file with multifd, ${how}`, {
    capabilities: ["mapped-ram", "multifd"],
    variation: true,
  }, { stop });
}

byFile("to a mapped-ram file with multifd past the host's cache", {
  capabilities: ["mapped-ram", "multifd"],
  parameters: { "direct-io": true },
}, { stop: true });

scenario("an offset that is no size is refused", {}, async (pair) => {
  const reply = await pair.source.machine.command("migrate", {
    uri: `file:${pair.directory.file("state")},offset=0x20M`,
  });
  assert("error" in reply);
});

const uuid = (digit: number) => `${digit}1111111-1111-1111-1111-111111111111`;

/** `undefined` on a side: it has no -uuid. */
function uuids(
  name: string,
  from: number | undefined,
  to: number | undefined,
  outcome: "completed" | "failed",
  setup: Setup = {},
): void {
  const option = (digit: number | undefined) => digit === undefined ? [] : ["-uuid", uuid(digit)];
  const sides = { source: option(from), destination: option(to) };
  scenario(name, { ...setup, ...sides }, (pair) => migrateUuids(pair, outcome));
}

async function migrateUuids(
  pair: MigrationPair,
  outcome: "completed" | "failed",
): Promise<void> {
  const { source, destination } = pair;
  await source.setParameter("downtime-limit", 1_000_000);
  await source.setCapability("validate-uuid");
  await source.awaitRound();
  if (outcome === "failed") destination.machine.expectedStatus = 1;
  await source.migrate(await pair.listen(unix(pair)));
  if (outcome === "completed") {
    await source.completed();
  } else {
    await source.fails({ onceActive: true });
    await destination.awaitStatus("failed");
    await destination.machine.quit();
    assertStringIncludes(destination.machine.errorText, "UUID");
  }
}

uuids("machines of one UUID", 1, 1, "completed", { variation: true });
uuids("machines of two UUIDs are distinguished", 1, 2, "failed");
uuids("a source without UUID fits any", undefined, 2, "completed", { variation: true });
uuids("a destination without UUID takes any", 1, undefined, "completed", { variation: true });

scenario("a uri and channels together are refused, and so is neither", {}, async (pair) => {
  await pair.source.awaitRound();
  await pair.listen(tcp);
  for (const way of [{ ...tcp, ...tcpChannel }, {}]) {
    assert("error" in await pair.source.machine.command("migrate", way));
  }
});

scenario(
  "a guest that is too fast is slowed down until the migration can end",
  { variation: true },
  async (pair) => {
    const [INITIAL, INCREMENT, MOST] = [5, 25, 95];
    const { source, destination } = pair;
    await source.setCapability("auto-converge");
    await source.setParameter("cpu-throttle-initial", INITIAL);
    await source.setParameter("cpu-throttle-increment", INCREMENT);
    await source.setParameter("max-cpu-throttle", MOST);
    await source.neverConverge();
    await source.setCapability("pause-before-switchover");
    await source.awaitRound();
    // Enough to come round in a test's time, and still less than the guest dirties.
    await source.setParameter("max-bandwidth", 30_000_000);
    await source.migrate(await pair.listen(unix(pair)));
    const throttle = async () => (await source.query())["cpu-throttle-percentage"] ?? 0;
    await until(async () => await throttle() !== 0);
    assert(await throttle() >= INITIAL);
    await source.converge();
    await source.pollStatus("pre-switchover");
    assert(await throttle() <= MOST);
    await source.machine.execute("migrate-continue", { state: "pre-switchover" });
    await destination.machine.event("RESUME");
    await destination.awaitRound();
    await source.completed();
    await pair.checkArrival();
  },
);
