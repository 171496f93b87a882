/** A guest that goes to another process: live migration and cpr-transfer. */
import { awaitListening } from "../../../scripts/lib/listening.ts";
import { heartbeatMachine } from "../../support/heartbeat_machine.ts";
import { TemporaryDirectory } from "../../support/temporary_directory.ts";
import { unixChannels } from "../../support/transferred_machine.ts";
import { GuestLog } from "../../support/virtio_machine.ts";
import { Life } from "../life.ts";
import { InjectedMachine, limit, settles } from "../machine.ts";
import { GuestLost, type Outcome, type Scenario, type Subject, type Target } from "../scenario.ts";
import { migrationEnds } from "./steady.ts";

/** How the guest moves. */
interface Way {
  readonly name: string;
  readonly sharedMemory: boolean;
  /** Options of the destination that waits; the second list names sockets that it listens on. */
  incoming(path: string): { readonly options: readonly string[]; readonly listens: string[] };
  readonly capabilities: readonly string[];
  /** Prepares the destination that was started. */
  ready(destination: InjectedMachine, path: string): Promise<void>;
  parameters: Readonly<Record<string, unknown>>;
  migrate(path: string): Record<string, unknown>;
}

const precopy: Way = {
  name: "live migration",
  sharedMemory: false,
  // Without it a source does not know whether the destination could load what it sent.
  capabilities: ["return-path"],
  incoming: () => ({ options: ["-incoming", "defer"], listens: [] }),
  ready: async (destination, path) => {
    const given = { "uri": `unix:${path}`, "exit-on-error": false };
    await settles("migrate-incoming", () => destination.execute("migrate-incoming", given));
  },
  parameters: { "max-bandwidth": 1 << 30, "downtime-limit": 2000 },
  migrate: (path) => ({ uri: `unix:${path}` }),
};

const transfer: Way = {
  name: "cpr-transfer",
  sharedMemory: true,
  capabilities: [],
  incoming: (path) => ({
    options: unixChannels(`${path}.main`, `${path}.cpr`).flatMap((channel) => [
      "-incoming",
      JSON.stringify(channel),
    ]),
    listens: [`${path}.cpr`],
  }),
  ready: () => Promise.resolve(),
  parameters: { mode: "cpr-transfer" },
  migrate: (path) => ({ channels: unixChannels(`${path}.main`, `${path}.cpr`) }),
};

/** What a process says of the guest. */
type Holding =
  /** It runs there. */
  | "runs"
  /** It is there, stopped for an internal error. */
  | "stopped"
  /** It is not there: never was, or has left. */
  | "none"
  /** Not decided yet. */
  | "undecided"
  /** The process has ended. */
  | "ended";

class MovedSubject implements Subject {
  readonly #way: Way;
  readonly #directory = new TemporaryDirectory();
  readonly #log = new GuestLog(this.#directory.file("serial"));
  readonly #life = new Life(this.#log.path);
  #source: InjectedMachine | undefined;
  #destination: InjectedMachine | undefined;
  #count = 0;

  constructor(way: Way) {
    this.#way = way;
  }

  /** A source whose guest runs, and a destination that waits; one of them may be new. */
  async prepare(): Promise<void> {
    if (this.#source === undefined) {
      this.#source = await this.#start("source", []);
      await this.#life.goOn(1, limit());
    }
    await this.#destination?.[Symbol.asyncDispose]();
    const path = this.#path(++this.#count);
    const { options, listens } = this.#way.incoming(path);
    this.#destination = await this.#start("destination", options);
    for (const socket of listens) {
      await awaitListening(socket, this.#destination.vm.pid, limit());
    }
  }

  target(process: string): Target {
    const machine = process === "source" ? this.#source : this.#destination;
    if (machine === undefined) throw new Error(`there is no ${process}`);
    return machine.target();
  }

  async exercise(): Promise<void> {
    const { source, destination } = this.#both();
    const path = this.#path(this.#count);
    const capabilities = this.#way.capabilities.map((capability) => ({ capability, state: true }));
    const setCapabilities = { capabilities };
    await settles(
      "migrate-set-capabilities",
      () => destination.execute("migrate-set-capabilities", setCapabilities),
    );
    await this.#way.ready(destination, path);
    await settles("migrate", (signal) =>
      source.withMonitor(async (client) => {
        await client.executeUntyped("migrate-set-capabilities", setCapabilities);
        await client.executeUntyped("migrate-set-parameters", this.#way.parameters);
        await client.executeUntyped("migrate", this.#way.migrate(path));
      }, signal));
    await settles("the source's migration", (signal) => migrationEnds(source, signal));
  }

  async judge(): Promise<Outcome> {
    const { source, destination } = this.#both();
    const signal = limit();
    for (;;) {
      const holdings = [await holding(source), await holding(destination)] as const;
      const [here, there] = holdings;
      const has = (holding: Holding) => holding === "runs" || holding === "stopped";
      if (has(here) && has(there)) throw new GuestLost("both processes have the guest");
      if (here === "ended") throw new GuestLost(`the source ended: ${source.vm.errorText}`);
      const decided = here !== "undecided" && (has(here) || there !== "undecided");
      if (decided && (has(here) || has(there))) {
        return await this.#follow(has(here) ? source : destination);
      }
      if (signal.aborted || (decided && !has(here) && !has(there))) {
        const texts = `${await describe(source)}; ${await describe(destination)}`;
        throw new GuestLost(`no process has the guest: ${holdings.join(", ")}; ${texts}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source?.[Symbol.asyncDispose]();
    await this.#destination?.[Symbol.asyncDispose]();
    this.#life[Symbol.dispose]();
    this.#directory[Symbol.dispose]();
  }

  async #follow(holder: InjectedMachine): Promise<Outcome> {
    const outcome = await holder.judge(this.#life);
    if (holder !== this.#source) {
      await this.#source?.[Symbol.asyncDispose]();
      this.#source = holder;
      this.#destination = undefined;
    }
    return outcome;
  }

  #both() {
    const [source, destination] = [this.#source, this.#destination];
    if (source === undefined || destination === undefined) throw new Error("not prepared");
    return { source, destination };
  }

  #path(number: number): string {
    return this.#directory.file(`way${number}`);
  }

  async #start(name: string, incoming: readonly string[]): Promise<InjectedMachine> {
    const options = heartbeatMachine(this.#log, {
      append: "memory=16 rate=20 period=20",
      ...(this.#way.sharedMemory ? { shared: "memfd" } : {}),
    });
    const file = `${name}${this.#count}`;
    return await InjectedMachine.start([...options, ...incoming], this.#directory, file);
  }
}

async function holding(machine: InjectedMachine): Promise<Holding> {
  if (!machine.vm.alive) return "ended";
  let state;
  try {
    state = await machine.runState();
  } catch (error) {
    if (!machine.vm.alive) return "ended";
    throw error;
  }
  switch (state) {
    case "running":
      return "runs";
    case "internal-error":
      return "stopped";
    case "inmigrate": {
      // It may be on its way still, or have failed.
      const { status } = await machine.execute("query-migrate");
      return status === "failed" || status === "none" || status === undefined || status === "setup"
        ? "none"
        : "undecided";
    }
    case "postmigrate":
      return "none";
    default:
      return "undecided";
  }
}

async function describe(machine: InjectedMachine): Promise<string> {
  const migration = await machine.execute("query-migrate").catch((error) => String(error));
  const status = await machine.execute("query-status").catch((error) => String(error));
  return JSON.stringify({ migration, status, errors: machine.vm.errorText });
}

/** Calls fail in one of the two. */
function moved(name: string, way: Way, processes: readonly string[]): Scenario {
  return { name, processes, start: () => Promise.resolve(new MovedSubject(way)) };
}

export const movedScenarios: readonly Scenario[] = [
  moved("source", precopy, ["source"]),
  moved("destination", precopy, ["destination"]),
  moved("cpr-transfer", transfer, ["source", "destination"]),
];
