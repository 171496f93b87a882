/**
 * Migrations during which one side is killed, again and again, and what is left of the guest. Beats of
 * the guest go to one file, wherever it runs: a life that was lost, doubled or set back shows there.
 *
 *   the destination is killed      the guest goes on at the source, which says why; or the source had
 *                                  handed it over, and still can let it go on
 *   the source is killed           the guest goes on at the destination, or can, being complete there;
 *                                  or it was not yet, and the destination says why
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { MigrationInformation, QmpEvents } from "../../src/qmp_client/mod.ts";
import { HeartbeatLog } from "./heartbeat_log.ts";
import { heartbeatMachine } from "./heartbeat_machine.ts";
import { patience } from "./patience.ts";
import { TemporaryDirectory } from "./temporary_directory.ts";
import { VirtualMachine } from "./virtual_machine.ts";

/** A side of a migration. */
export type SideName = "source" | "destination";

/** When somebody is killed. */
export type Moment =
  /** After so much of the time that a migration takes. */
  | { readonly kind: "time"; readonly fraction: number }
  /** When a side emits an event, MIGRATION with this status. */
  | {
    readonly kind: "event";
    readonly side: SideName;
    readonly name: string;
    readonly status?: string;
  };

/** What became of the guest. */
export type Outcome =
  /** The source never lost it. */
  | "stayed"
  /** It was handed over to somebody who was killed then: its source let it go on by a person's word. */
  | "taken back"
  | "arrived"
  /** It was complete at the destination, and the source had died without a word. */
  | "arrived on a person's word"
  /** The only process that had it was killed. */
  | "killed";

/** How guests move in a sweep. */
export interface SweepRoute {
  /** Besides those of the guest. */
  readonly machine?: Parameters<typeof heartbeatMachine>[1];
  /** The state goes to a file, which a destination reads later: `listen` is not used. */
  readonly stored?: boolean;
  /** Both sides use the same memory: who has given the guest away cannot have it back. */
  readonly sharedMemory?: boolean;
  /** Has `destination` wait for a source, and returns the arguments of `migrate`. */
  listen(
    destination: VirtualMachine,
    name: string,
    exitOnError: boolean,
  ): Promise<Record<string, unknown>>;
  /** Options of a destination. */
  incoming(name: string): readonly string[];
  /** Prepares either side. */
  configure(source: VirtualMachine): Promise<void>;
}

const COMPLETED: Moment = {
  kind: "event",
  side: "source",
  name: "MIGRATION",
  status: "completed",
};

const POLL_INTERVAL = 5;
/** A destination of cpr-transfer that waits so long, in ms, has not got what the killed source had. */
const STILL_WAITING = 300;

/** What the source says. */
const DESTINATION_GONE = RegExp(
  "^the destination (disconnected, at offset 0x[0-9a-f]+ of the stream|disconnected before it had the guest|" +
    "did not take the CPR state)|^Failed to connect to '/.*': (Connection refused|No such file)",
);
/** The same, when it cannot know whether the destination has started the guest. */
const GIVEN_AWAY = /^the destination was given the guest and has not confirmed/;
/** What the destination says. */
const SOURCE_GONE = RegExp(
  "^(molt: )?load of migration failed: .*(at offset 0x[0-9a-f]+: |" +
    "the source disconnected: \\d+ of \\d+ connections)|" +
    "^load of migration failed: the source's process has ended before it sent",
);
/** What a destination says that is complete. */
const WHOSE_GUEST = /^the source went away before it gave the guest up/;

/** A guest, and machines that it moves between. */
export class KillSweep implements AsyncDisposable {
  readonly directory = new TemporaryDirectory();
  readonly outcomes = new Map<Outcome, number>();
  readonly #route: SweepRoute;
  readonly #path = this.directory.file("serial");
  #log = new HeartbeatLog(this.#path);
  #count = 0;
  #source: VirtualMachine | undefined;
  #destination: VirtualMachine | undefined;
  readonly #spare: Partial<Record<SideName, Promise<VirtualMachine>>> = {};
  /** Milliseconds that a migration takes. */
  #duration = 0;

  private constructor(route: SweepRoute) {
    this.#route = route;
  }

  /** Starts the machines, and measures how long a migration takes. */
  static async start(route: SweepRoute): Promise<KillSweep> {
    const sweep = new KillSweep(route);
    try {
      // The first time takes longer.
      await sweep.#measure();
      await sweep.#measure();
      return sweep;
    } catch (error) {
      await sweep[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** One migration. `exitOnError`: a destination that cannot load ends, instead of waiting again. */
  async kill(victim: SideName, moment: Moment, exitOnError = false): Promise<Outcome> {
    const { source, destination } = await this.#pair();
    try {
      using events = allEvents({ source, destination });
      const migrate = await this.#listen(destination, exitOnError);
      await source.qmp.execute("migrate", migrate);
      await this.#reach(moment, events);
      await (victim === "source" ? source : destination).kill();
      const outcome = victim === "source"
        ? await this.#withoutSource(destination)
        : await this.#withoutDestination(source);
      return this.#note(outcome);
    } catch (cause) {
      const sides = `${source.describe()}\n${destination.describe()}`;
      throw new Error(`${victim} killed at ${JSON.stringify(moment)}:\n${sides}`, { cause });
    }
  }

  /**
   * The source is killed while it writes a file: then there is no such file, or it is whole, and the
   * guest goes on from it.
   */
  async killSaving(moment: Moment): Promise<Outcome> {
    const { source, destination } = await this.#pair();
    const file = this.directory.file(`state${++this.#count}`);
    try {
      using events = allEvents({ source, destination });
      await source.qmp.execute("migrate", { uri: `file:${file}` });
      await this.#reach(moment, events);
      await source.kill();
      return this.#note(await this.#load(destination, file));
    } catch (cause) {
      const sides = `${source.describe()}\n${destination.describe()}`;
      throw new Error(`source killed at ${JSON.stringify(moment)}:\n${sides}`, { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const spare = await Promise.allSettled(Object.values(this.#spare));
    for (const machine of spare) {
      if (machine.status === "fulfilled") await machine.value[Symbol.asyncDispose]();
    }
    await this.#source?.[Symbol.asyncDispose]();
    await this.#destination?.[Symbol.asyncDispose]();
    this.#log[Symbol.dispose]();
    this.directory[Symbol.dispose]();
  }

  /** A source whose guest runs, and a destination that can wait for it. */
  async #pair(): Promise<{ source: VirtualMachine; destination: VirtualMachine }> {
    const [source, destination] = await Promise.all([
      this.#source ?? this.#bear(),
      this.#destination ?? this.#take("destination"),
    ]);
    this.#source = source;
    this.#destination = destination;
    return { source, destination };
  }

  /** A new guest. */
  async #bear(): Promise<VirtualMachine> {
    const source = await this.#take("source");
    this.#source = source;
    this.#renewLog(false);
    await source.qmp.execute("cont");
    await this.#log.beats(2);
    return source;
  }

  /** A machine that was started before, and has another one started. */
  async #take(side: SideName): Promise<VirtualMachine> {
    const machine = this.#spare[side] ?? this.#start(side);
    this.#spare[side] = this.#start(side);
    this.#spare[side].catch(() => {});
    return await machine;
  }

  async #start(side: SideName): Promise<VirtualMachine> {
    const name = `${side}${++this.#count}`;
    const guest = heartbeatMachine(this.#log, {
      cpus: 1,
      append: "memory=16 rate=60 period=20",
      ...this.#route.machine,
    });
    const own = side === "source" ? ["-S"] : this.#route.incoming(this.directory.file(name));
    const { directory } = this;
    const machine = await VirtualMachine.start("molt", [...guest, ...own], { directory, name });
    await machine.qmp.execute("migrate-set-capabilities", {
      capabilities: [{ capability: "events", state: true }],
    });
    await this.#route.configure(machine);
    return machine;
  }

  #note(outcome: Outcome): Outcome {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    return outcome;
  }

  async #discard(destination: VirtualMachine): Promise<void> {
    this.#destination = undefined;
    await destination.kill();
  }

  #renewLog(inside: boolean): void {
    this.#log[Symbol.dispose]();
    this.#log = new HeartbeatLog(this.#path, { inside });
  }

  async #listen(
    destination: VirtualMachine,
    exitOnError: boolean,
  ): Promise<Record<string, unknown>> {
    const name = this.directory.file(`way${++this.#count}`);
    return await this.#route.listen(destination, name, exitOnError);
  }

  async #measure(): Promise<void> {
    const { source, destination } = await this.#pair();
    const file = this.#route.stored ? this.directory.file("state") : undefined;
    const migrate = file === undefined
      ? await this.#listen(destination, false)
      : { uri: `file:${file}` };
    using events = allEvents({ source, destination });
    await source.qmp.execute("migrate", migrate);
    const start = performance.now();
    await this.#reach(COMPLETED, events);
    this.#duration = performance.now() - start;
    await source.kill();
    const outcome = file === undefined
      ? await this.#withoutSource(destination)
      : await this.#load(destination, file);
    assertEquals(outcome, "arrived");
  }

  async #reach(moment: Moment, { source, destination }: SideEvents): Promise<void> {
    if (moment.kind === "time") {
      const delay = moment.fraction * this.#duration;
      await new Promise((resolve) => setTimeout(resolve, delay));
      return;
    }
    const { name, status } = moment;
    await (moment.side === "source" ? source : destination).take({
      matches: (event) =>
        event.name === name && (status === undefined || event.data["status"] === status),
      signal: patience(),
    });
  }

  async #withoutDestination(source: VirtualMachine): Promise<Outcome> {
    this.#destination = undefined;
    const end = await settled(source);
    const reason = end["error-desc"] ?? "";
    if (end.status === "failed" && !GIVEN_AWAY.test(reason)) {
      assertMatch(reason, DESTINATION_GONE);
      assertEquals((await source.qmp.execute("query-status")).status, "running");
      await this.#log.beats(2);
      return "stayed";
    }
    // It was killed with the guest, before or after it could say so.
    if (!GIVEN_AWAY.test(reason)) assertEquals(end.status, "completed");
    assertEquals((await source.qmp.execute("query-status")).status, "postmigrate");
    if (this.#route.sharedMemory) {
      await assertRejects(
        () => source.qmp.execute("cont"),
        Error,
        "handed over to another process",
      );
      this.#source = undefined;
      await source.kill();
      return "killed";
    }
    // The guest may have gone on for a while where it was killed.
    this.#renewLog(true);
    await source.qmp.execute("cont");
    await this.#log.beats(2);
    return "taken back";
  }

  /** Loads what a source has left in `file`; it has been killed. */
  async #load(destination: VirtualMachine, file: string): Promise<Outcome> {
    const load = { uri: `file:${file}`, "exit-on-error": false };
    const loading = () => destination.qmp.execute("migrate-incoming", load);
    if (!await exists(file)) {
      await assertRejects(loading, Error, `Could not open '${file}': No such file`);
      this.#source = undefined;
      return "killed";
    }
    await loading();
    return await this.#withoutSource(destination);
  }

  async #withoutSource(destination: VirtualMachine): Promise<Outcome> {
    this.#source = undefined;
    const end = await Promise.race([settled(destination), destination.exited]);
    if ("code" in end) {
      assertEquals(end.code, 1);
      assertMatch(destination.errorText, SOURCE_GONE);
      this.#destination = undefined;
      return "killed";
    }
    const { status } = await destination.qmp.execute("query-status");
    if (end.status === undefined) return "killed";
    if (end.status === "failed") {
      assertMatch(end["error-desc"] ?? "", SOURCE_GONE);
      assertEquals(status, "inmigrate");
      if (this.#route.sharedMemory) await this.#discard(destination);
      return "killed";
    }
    assertEquals(end.status, "completed");
    const outcome = end["error-desc"] === undefined ? "arrived" : "arrived on a person's word";
    assertEquals(status, outcome === "arrived" ? "running" : "paused");
    if (outcome !== "arrived") {
      assertMatch(end["error-desc"] ?? "", WHOSE_GUEST);
      await destination.qmp.execute("cont");
    }
    await this.#log.beats(2);
    this.#source = destination;
    this.#destination = undefined;
    return outcome;
  }
}

/** What both sides report. */
interface SideEvents extends Record<SideName, QmpEvents>, Disposable {}

function allEvents(machines: Readonly<Record<SideName, VirtualMachine>>): SideEvents {
  const [source, destination] = [machines.source.qmp.events(), machines.destination.qmp.events()];
  return {
    source,
    destination,
    [Symbol.dispose]() {
      source[Symbol.dispose]();
      destination[Symbol.dispose]();
    },
  };
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Waits until a migration has ended; for ever if its process ends. */
async function settled(machine: VirtualMachine): Promise<MigrationInformation> {
  const signal = patience();
  let waited = 0;
  for (;;) {
    const information = await machine.qmp.execute("query-migrate").catch(() => machine.exited);
    if ("code" in information) return await new Promise(() => {});
    const { status } = information;
    if (status === undefined && "x-waiting-for" in information) {
      if (++waited * POLL_INTERVAL > STILL_WAITING) return information;
    }
    if (status === "completed" || status === "failed" || status === "cancelled") return information;
    assert(!signal.aborted, `the migration stays ${status}: ${machine.describe()}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
  }
}
