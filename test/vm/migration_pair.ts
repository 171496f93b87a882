/**
 * A source and a destination as QEMU's migration tests have them, and the steps that those tests are
 * made of. The guest (test/guests/boot_sector.S) prints A, then goes round 99 MiB for ever,
 * increments a byte in each page and prints B after each round.
 */
import { assert, assertEquals } from "@std/assert";
import { patience } from "../support/patience.ts";
import { guestImage } from "../support/programs.ts";
import { TemporaryDirectory } from "../support/temporary_directory.ts";
import { TestedMachine, type TestedOptions } from "./tested_machine.ts";

const FIRST_PAGE = 0x100000;
const END = 0x6400000;
const PAGE = 4096;
/** A place that comes late enough in the first pass, and that the guest does not write. */
const MARKED_PAGE = FIRST_PAGE + 3 * 1024 * 1024;
const MARKER_ADDRESS = MARKED_PAGE + 1024;
const MARKER = 0xfeed12345678cafen;

/** A migration's way, as `migrate` and `migrate-incoming` take it. */
export type Way = { readonly uri: string } | { readonly channels: readonly unknown[] };

/** How a pair differs from the plain one. */
export interface PairOptions {
  readonly both?: readonly string[];
  readonly source?: readonly string[];
  readonly destination?: readonly string[];
  /** Options of the accelerator: `,dirty-ring-size=4096`. */
  readonly kvm?: string;
  /** `-incoming`: `defer` by default. */
  readonly incoming?: readonly string[];
  /** Instead of `-m`. */
  readonly memory?: readonly string[];
  readonly destinationOptions?: TestedOptions;
}

/** Options that name files of the pair's directory. */
export type PairOptionsIn = (directory: TemporaryDirectory) => PairOptions;

/** The two machines and the directory that they share. */
export class MigrationPair implements AsyncDisposable {
  readonly directory = new TemporaryDirectory();
  readonly #options: PairOptions;
  #source: TestedMachine | undefined;
  #destination: TestedMachine | undefined;

  private constructor(options: PairOptions | PairOptionsIn) {
    this.#options = typeof options === "function" ? options(this.directory) : options;
  }

  static async start(options: PairOptions | PairOptionsIn = {}): Promise<MigrationPair> {
    const pair = new MigrationPair(options);
    try {
      const { source = [], destinationOptions = {} } = pair.#options;
      pair.#source = await TestedMachine.start(pair.#arguments("source", source));
      await pair.startDestination();
      await pair.source.setCapability("events");
      if (!destinationOptions.deferMonitor) await pair.destination.setCapability("events");
      return pair;
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
  }

  get source(): Side {
    if (this.#source === undefined) throw new Error("there is no source");
    return new Side(this.#source, this.directory.file("source.serial"));
  }

  get destination(): Side {
    if (this.#destination === undefined) throw new Error("there is no destination");
    return new Side(this.#destination, this.directory.file("destination.serial"));
  }

  /** Starts a destination, another one if there was one. */
  async startDestination(): Promise<void> {
    await this.#destination?.quit();
    this.#destination = undefined;
    const { destination = [], incoming = ["-incoming", "defer"], destinationOptions } =
      this.#options;
    this.#destination = await TestedMachine.start(
      this.#arguments("destination", [...incoming, ...destination]),
      destinationOptions,
    );
  }

  /** Starts waiting at the destination, and returns the way that the source has to go. */
  async listen(way: Way): Promise<Way> {
    const { destination } = this;
    await destination.machine.execute("migrate-incoming", way);
    await destination.awaitStatus("setup");
    const { "socket-address": [address] = [] } = await destination.query();
    const port = address?.port;
    if (port === undefined) return way;
    return JSON.parse(
      JSON.stringify(way).replace(/(:|"port":")0"/, (_, before) => `${before}${port}"`),
    );
  }

  /** The guest goes on at the destination, stops when asked, and its memory is whole. */
  async checkArrival(): Promise<void> {
    await this.source.machine.quit();
    const { machine } = this.destination;
    await this.destination.checkRunning();
    await machine.execute("stop");
    const stopped = await machine.readNumber("readb", FIRST_PAGE);
    await pause(200);
    assertEquals(await machine.readNumber("readb", FIRST_PAGE), stopped);
    await checkMemory(machine, this.directory.file("memory"));
  }

  /** Ends both, and checks how they end. */
  async end(): Promise<void> {
    await this.#source?.quit();
    await this.#destination?.quit();
  }

  /** What to know of both when a test fails. */
  async describe(): Promise<string> {
    const describe = async (name: string, machine: TestedMachine | undefined) => {
      const migration = await machine?.execute("query-migrate").catch((error) => String(error));
      return `${name}: ${JSON.stringify(migration)} ${machine?.errorText}`;
    };
    return `${await describe("source", this.#source)}\n${await describe(
      "destination",
      this.#destination,
    )}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source?.[Symbol.asyncDispose]();
    await this.#destination?.[Symbol.asyncDispose]();
    this.directory[Symbol.dispose]();
  }

  #arguments(name: "source" | "destination", own: readonly string[]): string[] {
    const { kvm = "", memory = ["-m", "150M"], both = [] } = this.#options;
    return [
      ...["-accel", `kvm${kvm}`, "-accel", "tcg"],
      ...["-machine", "microvm,", "-name", `${name},debug-threads=on`],
      ...memory,
      ...["-serial", `file:${this.directory.file(`${name}.serial`)}`],
      ...["-drive", `if=none,id=d0,file=${guestImage("boot_sector.img")},format=raw`],
      ...both,
      ...own,
    ];
  }
}

/** One of the two machines. */
export class Side {
  readonly machine: TestedMachine;
  readonly #serial: string;

  constructor(machine: TestedMachine, serial: string) {
    this.machine = machine;
    this.#serial = serial;
  }

  async setCapability(capability: string, state = true): Promise<void> {
    await this.machine.execute("migrate-set-capabilities", {
      capabilities: [{ capability, state }],
    });
  }

  /** Sets a parameter and checks that it reads back. */
  async setParameter(name: string, value: number | string | boolean): Promise<void> {
    await this.machine.execute("migrate-set-parameters", { [name]: value });
    assertEquals((await this.machine.execute("query-migrate-parameters"))[name], value);
  }

  /** So little bandwidth and pause that the guest is faster. */
  async neverConverge(): Promise<void> {
    await this.setParameter("max-bandwidth", 3_000_000);
    await this.setParameter("downtime-limit", 1);
  }

  /** As much as there is. */
  async converge(): Promise<void> {
    await this.setParameter("max-bandwidth", 1_000_000_000);
    await this.setParameter("downtime-limit", 30_000);
  }

  async migrate(way: Way): Promise<void> {
    await this.machine.execute("migrate", way);
  }

  // deno-lint-ignore no-explicit-any
  async query(): Promise<any> {
    return await this.machine.execute("query-migrate");
  }

  /** Waits for MIGRATION with this status. */
  async awaitStatus(status: string): Promise<void> {
    await this.machine.event("MIGRATION", ({ data }) => data?.["status"] === status);
  }

  /** Looks until the status is this one; it must not become one of `never`. */
  async pollStatus(status: string, never: readonly string[] = ["failed"]): Promise<void> {
    await until(async () => {
      const { status: current, "error-desc": reason } = await this.query();
      if (current !== status && never.includes(current)) {
        throw new Error(`the migration's status is ${current}: ${reason}`);
      }
      return current === status;
    });
  }

  async completed(): Promise<void> {
    await this.pollStatus("completed");
  }

  /** The migration fails, and the guest runs on here. */
  async fails({ onceActive }: { readonly onceActive: boolean }): Promise<string> {
    const never = ["completed", "cancelled", ...(onceActive ? [] : ["active"])];
    await this.pollStatus("failed", never);
    assertEquals((await this.machine.execute("query-status")).running, true);
    return (await this.query())["error-desc"];
  }

  /** The guest goes on here. */
  async checkRunning(): Promise<void> {
    const count = () => this.machine.readNumber("readb", FIRST_PAGE);
    const before = await count();
    await until(async () => await count() !== before);
    assertEquals((await this.machine.execute("query-status")).running, true);
  }

  /** Waits until the guest has gone round its memory once more since it started here. */
  async awaitRound(): Promise<void> {
    await until(async () => (await Deno.readTextFile(this.#serial)).includes("B"));
    const text = await Deno.readTextFile(this.#serial);
    assert(/^A?B+$/.test(text), `the guest printed '${text}'`);
  }

  /** Marks a page, so that the destination shows when it has come. */
  async mark(): Promise<void> {
    assertEquals(
      await this.machine.qtest(`writeq ${MARKER_ADDRESS} 0x${MARKER.toString(16)}`),
      "OK",
    );
  }

  async stop(): Promise<void> {
    await this.machine.execute("stop");
    await this.machine.event("STOP");
  }
}

/** Waits until the marked page has come, and is out of date again. */
export async function awaitDirtyMemory({ source, destination }: MigrationPair): Promise<void> {
  const read = () => destination.machine.readNumber("readq", MARKER_ADDRESS);
  await until(async () => await read() === MARKER);
  const before = await source.machine.readNumber("readb", MARKED_PAGE);
  await until(async () => await source.machine.readNumber("readb", MARKED_PAGE) !== before);
}

/** All pages have the same count, but for one step where the guest was. `file` is for their contents. */
async function checkMemory(machine: TestedMachine, file: string): Promise<void> {
  await machine.execute("pmemsave", { val: FIRST_PAGE, size: END - FIRST_PAGE, filename: file });
  const bytes = await Deno.readFile(file);
  const counts = Array.from(
    { length: (END - FIRST_PAGE) / PAGE },
    (_, index) => bytes[index * PAGE],
  );
  const steps = counts.flatMap((count, index) => {
    const previous = counts[index - 1] ?? count;
    if (count === undefined || previous === undefined) throw new Error(`no page ${index}`);
    return count === previous ? [] : [(previous - count + 256) % 256];
  });
  assert(steps.length === 0 || steps.length === 1 && steps[0] === 1, `steps: ${steps}`);
}

async function pause(milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Looks again and again until `condition` holds. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  const signal = patience();
  while (!await condition()) {
    signal.throwIfAborted();
    await pause(10);
  }
}
