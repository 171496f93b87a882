/** Whoever is killed while a guest moves: it is never in two places, and not lost where it can be kept. */
import { assertGreater, assertGreaterOrEqual } from "@std/assert";
import type { MigrationCapability, MigrationChannel } from "../../src/qmp_client/mod.ts";
import { KillSweep, type Moment, type SideName, type SweepRoute } from "../support/kill_sweep.ts";
import { newSeed, Random } from "../support/random.ts";
import { patience } from "../support/patience.ts";
import { awaitListening } from "../../scripts/lib/listening.ts";
import { thorough } from "../support/thorough.ts";

const MEGABYTE = 1_000_000;
/** How many moments there are besides the events. */
const MOMENTS = thorough ? 60 : 16;
const FEW_MOMENTS = thorough ? 60 : 6;

/** Over a connection or a file, with capabilities that both sides have. */
function route(...capabilities: MigrationCapability[]): SweepRoute {
  return {
    incoming: () => ["-incoming", "defer"],
    async configure({ qmp }) {
      await qmp.execute("migrate-set-capabilities", {
        capabilities: capabilities.map((capability) => ({ capability, state: true })),
      });
      // Two passes or three.
      await qmp.execute("migrate-set-parameters", {
        "max-bandwidth": 80 * MEGABYTE,
        "downtime-limit": 50,
      });
    },
    async listen({ qmp }, name, exitOnError) {
      const uri = `unix:${name}`;
      await qmp.execute("migrate-incoming", { uri, "exit-on-error": exitOnError });
      return { uri };
    },
  };
}

/** The guest's memory stays where it is. */
const transfer: SweepRoute = {
  machine: { shared: "memfd" },
  sharedMemory: true,
  incoming: (name) =>
    [unix("main", `${name}.main`), unix("cpr", `${name}.cpr`)]
      .flatMap((channel) => ["-incoming", JSON.stringify(channel)]),
  async configure({ qmp }) {
    await qmp.execute("migrate-set-parameters", { mode: "cpr-transfer" });
  },
  async listen({ socket, pid }) {
    const name = socket.replace(/\.qmp$/, "");
    await awaitListening(`${name}.cpr`, pid, patience());
    return { channels: [unix("main", `${name}.main`), unix("cpr", `${name}.cpr`)] };
  },
};

function unix(type: "main" | "cpr", path: string): MigrationChannel {
  return { "channel-type": type, "addr": { transport: "socket", type: "unix", path } };
}

function status(side: SideName, status: string): Moment {
  return { kind: "event", side, name: "MIGRATION", status };
}

function event(side: SideName, name: string): Moment {
  return { kind: "event", side, name };
}

const sourceEvents: readonly Moment[] = [
  status("source", "setup"),
  status("source", "active"),
  event("source", "MIGRATION_PASS"),
  event("source", "STOP"),
  status("source", "device"),
  status("source", "completed"),
];
const destinationEvents: readonly Moment[] = [
  status("destination", "active"),
  event("destination", "RESUME"),
  status("destination", "completed"),
];

/** Moments spread over a migration, drawn within equal parts of it. */
function spread(count: number, random: Random): Moment[] {
  return Array.from({ length: count }, (_, index) => ({
    kind: "time",
    fraction: 1.1 * (index + random.below(1000) / 1000) / count,
  }));
}

/** Does a sweep over moments drawn by a seed, which is printed if it fails. */
async function sweep(
  route: SweepRoute,
  count: number,
  kill: (sweep: KillSweep, moments: readonly Moment[]) => Promise<void>,
): Promise<KillSweep["outcomes"]> {
  const seed = newSeed();
  try {
    await using sweep = await KillSweep.start(route);
    await kill(sweep, spread(count, new Random(seed)));
    return sweep.outcomes;
  } catch (cause) {
    throw new Error(`MOLT_SEED=${seed}: ${cause}`, { cause });
  }
}

/** Kills either side at every moment. */
async function killEither(way: SweepRoute, count: number): Promise<KillSweep["outcomes"]> {
  return await sweep(way, count, async (sweep, moments) => {
    const all = [...sourceEvents, ...destinationEvents, ...moments];
    for (const [index, moment] of all.entries()) {
      await sweep.kill("destination", moment);
      await sweep.kill("source", moment, index % 5 === 0);
    }
  });
}

Deno.test("live precopy: either side killed at any of 50 points", async () => {
  const outcomes = await killEither(route("return-path"), MOMENTS);
  const total = [...outcomes.values()].reduce((sum, count) => sum + count, 0);
  assertGreaterOrEqual(total, 50);
  assertGreater(outcomes.get("stayed") ?? 0, 5);
  assertGreater(outcomes.get("killed") ?? 0, 5);
  assertGreater(outcomes.get("arrived") ?? 0, 2);
});

Deno.test("cpr-transfer: either side killed at any of 50 points, and nobody runs on another's memory", async () => {
  const outcomes = await killEither(transfer, MOMENTS);
  const total = [...outcomes.values()].reduce((sum, count) => sum + count, 0);
  assertGreaterOrEqual(total, 50);
  assertGreater(outcomes.get("stayed") ?? 0, 1);
  assertGreater(outcomes.get("killed") ?? 0, 1);
  assertGreater(outcomes.get("arrived") ?? 0, 1);
});

for (const format of ["a stream", "mapped-ram"] as const) {
  const capabilities: MigrationCapability[] = format === "mapped-ram" ? [format] : [];
  Deno.test(`${format} in a file: a source killed at any point leaves all of it or nothing`, async () => {
    const way = { ...route(...capabilities), stored: true };
    const outcomes = await sweep(way, FEW_MOMENTS, async (sweep, moments) => {
      for (const moment of [...sourceEvents, ...moments]) await sweep.killSaving(moment);
    });
    assertGreater(outcomes.get("killed") ?? 0, 2);
    assertGreater(outcomes.get("arrived") ?? 0, 0);
  });
}
