/** Tap interfaces of the host: opened by name, or given as descriptors; one descriptor a queue pair. */
import { asFd, Descriptor, type Fd } from "../../native/descriptor.ts";
import { isOpen } from "../../native/descriptor.ts";
import type { NetworkPort } from "../../native/network.ts";
import { SystemError } from "../../native/errors.ts";
import { awaitChild, spawn } from "../../native/process.ts";
import { reportFaults } from "../../process/faults.ts";
import { tapHasHeaders, TapOffload, TapQueue } from "../../native/tap.ts";
import type { TapConfig } from "../../configuration/network.ts";
import { keptName, type NetworkAbilities, type NetworkBackend, noAbilities } from "./backend.ts";

/** What a tap backend needs from outside. */
export interface TapEnvironment {
  /** A descriptor that the process before this one handed over. */
  readonly adopt: (name: string, id: number) => Descriptor | undefined;
  /** Takes messages for the user. */
  readonly report: (message: string) => void;
}

/** What an interface is configured with. */
interface TapSettings {
  headerSize: number;
  /** {@linkcode TapOffload} bits. */
  offload: number;
  /** Queues that are attached: the first ones. */
  pairs: number;
}

const HEADER_SIZE = 10;

/**
 * A tap interface. What the guest wants of it is set at the interface while it is in use, and again
 * whenever its use begins: a process that prepares to take it over, or fails to, changes nothing.
 */
export class TapBackend implements NetworkBackend {
  readonly id: string;
  readonly adopted: boolean;
  readonly abilities: NetworkAbilities;
  readonly #queues: readonly TapQueue[];
  readonly #config: TapConfig;
  readonly #report: (message: string) => void;
  readonly #wanted: TapSettings = { headerSize: HEADER_SIZE, offload: 0, pairs: 1 };
  #inUse = false;
  /** The interface has not done what it was to: nobody uses it before its use begins again. */
  #failed = false;
  /** Nobody else has the interface: it is taken down with this process. */
  #alone: boolean;
  /** Pairs whose frames go to a queue. */
  #connected = 1;
  #portChanged: (pair: number) => void = () => {};

  private constructor(
    id: string,
    queues: readonly TapQueue[],
    abilities: NetworkAbilities,
    adopted: boolean,
    config: TapConfig,
    report: (message: string) => void,
  ) {
    this.id = id;
    this.abilities = abilities;
    this.adopted = adopted;
    this.#alone = !adopted;
    this.#queues = queues;
    this.#config = config;
    this.#report = report;
  }

  /** Opens the interface, or takes it over from the process before this one. */
  static async open(
    id: string,
    config: TapConfig,
    { adopt, report }: TapEnvironment,
  ): Promise<TapBackend> {
    using undo = new DisposableStack();
    const { source } = config;
    for (const uso of [false, true]) {
      const kept = adoptAll(tapName(id, uso), adopt)
        .map((descriptor) => undo.use(new TapQueue(descriptor)));
      if (kept.length === 0) continue;
      const header = kept.every(({ hasHeader }) => hasHeader);
      undo.move();
      return new TapBackend(id, kept, { header, ufo: header, uso }, true, config, report);
    }
    const queues = source.kind === "descriptors"
      ? source.names.map((name) => undo.use(givenQueue(name, id)))
      : openInterface(config, source, undo);
    for (const queue of queues) queue.sendBuffer = config.sendBuffer ?? 0x7fffffff;
    if (source.kind === "interface" && source.script !== undefined) {
      await runScript(source.script, queues[0]?.name ?? "", id);
    }
    const abilities = probe(queues);
    undo.move();
    return new TapBackend(id, queues, abilities, false, config, report);
  }

  get pairs(): number {
    return this.#queues.length;
  }

  get description(): string {
    const [first] = this.#queues;
    const { source } = this.#config;
    if (source.kind === "descriptors") return `type=tap,fd=${first?.fd}`;
    const { script = "no", downscript = "no" } = source;
    return `type=tap,ifname=${first?.name},script=${script},downscript=${downscript}`;
  }

  port(pair: number): NetworkPort {
    const queue = this.#queues[pair];
    // A queue that is detached has nothing to read and takes nothing.
    if (queue === undefined || this.#failed || pair >= this.#connected) return { kind: "none" };
    return { kind: this.abilities.header ? "tap" : "plain tap", fd: queue.fd };
  }

  set portChanged(listener: (pair: number) => void) {
    this.#portChanged = listener;
  }

  set inUse(on: boolean) {
    if (on === this.#inUse) return;
    this.#inUse = on;
    if (on) this.#alone = true;
    if (on && this.#failed) this.#setFailed(false);
    this.#apply();
  }

  lost(): void {
    this.#report(`-netdev tap,id=${this.id}: the interface was removed`);
  }

  setHeaderSize(size: number): void {
    this.#wanted.headerSize = size;
    this.#apply();
  }

  setOffload(bits: number): void {
    this.#wanted.offload = bits;
    this.#apply();
  }

  setActivePairs(pairs: number): void {
    this.#wanted.pairs = pairs;
    this.#apply();
  }

  descriptors(): { name: string; id: number; fd: Fd }[] {
    this.#alone = false;
    const name = tapName(this.id, this.abilities.uso);
    return this.#queues.map(({ fd }, index) => ({ name, id: index, fd }));
  }

  [Symbol.dispose](): void {
    const name = this.#queues[0]?.name ?? "";
    for (const queue of this.#queues) queue[Symbol.dispose]();
    const { source } = this.#config;
    const script = source.kind === "interface" ? source.downscript : undefined;
    if (this.#alone && script !== undefined) reportFaults(() => spawn([script, name]));
  }

  /** Has the interface do what the guest wants. One that is no more ends the card's connection only. */
  #apply(): void {
    const [first] = this.#queues;
    if (!this.#inUse || this.#failed || first === undefined) return;
    try {
      this.#configure(first);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#report(`-netdev tap,id=${this.id}: disconnected: ${error.message}`);
      this.#setFailed(true);
    }
  }

  #setFailed(failed: boolean): void {
    this.#failed = failed;
    for (let pair = 0; pair < this.#connected; pair++) this.#portChanged(pair);
  }

  #configure(first: TapQueue): void {
    const { headerSize, offload, pairs } = this.#wanted;
    // The interface's are those of any of its queues.
    if (this.abilities.header) {
      first.headerSize = headerSize;
      first.offload(offload);
    }
    // Whoever moves frames finds a queue attached, or does not look at it any more.
    for (const queue of this.#queues.slice(1, pairs)) queue.attached = true;
    const before = this.#connected;
    this.#connected = pairs;
    for (let i = Math.min(before, pairs); i < Math.max(before, pairs); i++) this.#portChanged(i);
    for (const queue of this.#queues.slice(pairs)) queue.attached = false;
  }
}

/** All names that descriptors of a tap may have in a live update. */
export function tapNames(id: string): string[] {
  return [tapName(id, false), tapName(id, true)];
}

/**
 * What a live update calls the descriptors. Whether the interface has UDP segmentation is in the name,
 * since only trying shows it, and it may be in use.
 */
function tapName(id: string, uso: boolean): string {
  return uso ? `${keptName(id)}/uso` : keptName(id);
}

/** What an interface can do that nobody uses yet. */
function probe(queues: readonly TapQueue[]): NetworkAbilities {
  const [first] = queues;
  if (first === undefined || !queues.every(({ hasHeader }) => hasHeader)) return noAbilities;
  const ufo = first.offload(TapOffload.checksum | TapOffload.ufo);
  const uso = first.offload(TapOffload.checksum | TapOffload.uso4 | TapOffload.uso6);
  first.offload(0);
  return { header: true, ufo, uso };
}

function adoptAll(name: string, adopt: TapEnvironment["adopt"]): Descriptor[] {
  const descriptors: Descriptor[] = [];
  for (;;) {
    const next = adopt(name, descriptors.length);
    if (next === undefined) return descriptors;
    descriptors.push(next);
  }
}

/** A descriptor that this process was started with. */
function givenQueue(name: string, id: string): TapQueue {
  const number = Number(name);
  if (!isOpen(number)) {
    throw new Error(`-netdev tap,id=${id}: descriptor ${name} is not open`);
  }
  return new TapQueue(new Descriptor(asFd(number)));
}

function openInterface(
  { vnetHeader }: TapConfig,
  source: TapConfig["source"] & { kind: "interface" },
  owner: DisposableStack,
): TapQueue[] {
  const possible = vnetHeader !== "off" && tapHasHeaders();
  if (vnetHeader === "on" && !possible) {
    throw new Error("vnet_hdr=1 requested, but no kernel support for IFF_VNET_HDR available");
  }
  const options = { header: possible, multiqueue: source.queues > 1 };
  const first = owner.use(TapQueue.open(source.name ?? "", options));
  // The kernel may have chosen the name.
  const others = Array.from(
    { length: source.queues - 1 },
    () => owner.use(TapQueue.open(first.name, options)),
  );
  return [first, ...others];
}

function startScript(script: string, name: string, id: string): number {
  try {
    return spawn([script, name]);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `-netdev tap,id=${id}: ${reason}: add script=no,downscript=no if the interface ` +
        `'${name}' is set up by somebody else`,
      { cause },
    );
  }
}

async function runScript(script: string, name: string, id: string): Promise<void> {
  const status = await awaitChild(startScript(script, name, id));
  if (status.kind === "exited" && status.status === 0) return;
  const outcome = status.kind === "exited" ? `status ${status.status}` : `signal ${status.signal}`;
  throw new Error(`-netdev tap,id=${id}: network script ${script} failed with ${outcome}`);
}
